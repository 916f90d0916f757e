"""Writes docs/settings.md: every setting with its type, default and meaning, from settings.py.

`python scripts/settings.py` writes the page; `--check` fails if the page is not up to date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pydantic.fields import FieldInfo

from t5serve.setting_values import describe_values
from t5serve.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
INTRODUCTION = """\
# Settings

<!-- scripts/settings.py writes this page from service/t5serve/settings.py. -->

Settings are environment variables. An empty variable counts as unset, with one exception: if
`T5SERVE_API_KEYS_FILE` is empty, the service does not start, so that no service is open by mistake.
It does not start either if a variable that begins with `T5SERVE_` is unknown.

```sh
T5SERVE_MODEL=tiny-t5 T5SERVE_PORT=9000 ./scripts/serve
```

Some settings are also options of `t5serve serve`: `t5serve serve --help` lists them. An option
takes precedence over its variable. `t5serve doctor` checks the settings against the machine. The
[glossary](architecture.md#glossary) explains words such as *recipe*, *worker* and *guard*.
"""
SECTIONS = {
    "Model": [
        *("model", "models_file", "models_bytes", "backend", "kernels", "ggml_backends"),
        "logit_scale",
    ],
    "Workers": [
        *("workers", "threads", "cpu_set", "max_batch", "batch_window_ms"),
        *("prompt_lookup_num_tokens", "stall_seconds"),
    ],
    "Limits": [
        *("timeout_ms", "max_queue", "max_queries", "max_request_tokens", "max_input_tokens"),
        *("max_body_bytes", "rate_limit", "cache_bytes"),
    ],
    "Text": ["lexicon", "chat_template"],
    "Network": [
        *("host", "port", "max_connections", "keep_alive_seconds", "head_seconds"),
        "drain_seconds",
    ],
    "Access": ["api_keys_file", "admin_keys_file", "allowed_hosts", "cors_origins"],
    "Log": ["log_level", "log_format"],
}


def render_page() -> str:
    """Returns the page."""
    fields = Settings.model_fields
    names = [name for section in SECTIONS.values() for name in section]
    if sorted(names) != sorted(fields):
        differing = ", ".join(sorted({*names} ^ {*fields}))
        raise ValueError(f"SECTIONS must have each setting once; see {differing}")
    parts = [INTRODUCTION]
    for title, section in SECTIONS.items():
        rows = [_render_row(name, fields[name]) for name in section]
        head = ["| variable | default | values | meaning |", "| --- | --- | --- | --- |"]
        parts.append("\n".join([f"## {title}", "", *head, *rows]) + "\n")
    return "\n".join(parts)


def _render_row(name: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split())
    cells = [
        f"`T5SERVE_{name.upper()}`",
        _render_default(field.default),
        describe_values(field, mark="`"),
    ]
    return f"| {' | '.join([*cells, meaning])} |".replace("  ", " ")


def _render_default(default: object) -> str:
    if default is None or default in ((), ""):
        return "unset"
    if isinstance(default, int | float):
        return f"{default:,}" if default >= 10_000 else str(default)  # a port has no comma
    return f"`{default}`"


def main() -> int:
    """Writes or checks the page; returns 1 if it is not up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    page = render_page()
    if parser.parse_args().check:
        is_current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page
        if not is_current:
            sys.stderr.write(f"{PAGE} is not up to date; run python {sys.argv[0]}\n")
        return 0 if is_current else 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
