"""docs/settings.md, which is made from the settings themselves."""

from __future__ import annotations

import settings
from t5serve.settings import Settings


def test_page_is_current() -> None:
    """The page has every setting as the code has it; scripts/settings.py writes it anew."""
    page = settings.PAGE.read_text(encoding="utf-8")
    assert page == settings.render_page()
    for name in Settings.model_fields:
        assert f"| `T5SERVE_{name.upper()}` |" in page


def test_values_of_a_setting() -> None:
    """A row says what a setting takes: its type, its bounds, its choices."""
    rows = {line.split(" | ")[0]: line for line in settings.render_page().splitlines()}
    assert "| 8000 | integer, 0 to 65535 |" in rows["| `T5SERVE_PORT`"]
    assert "| `info` | `debug`, `info`, `warning`, `error` |" in rows["| `T5SERVE_LOG_LEVEL`"]
    assert "| unset | number, above 0 |" in rows["| `T5SERVE_LOGIT_SCALE`"]
    assert "| unset | path |" in rows["| `T5SERVE_LEXICON`"]
    assert "| unset | rate |" in rows["| `T5SERVE_RATE_LIMIT`"]
