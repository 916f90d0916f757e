"""The bindings to ggml."""

from __future__ import annotations

import subprocess
import sys

import pytest

from t5engine.graph import ggml


def test_a_missing_symbol_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries of another llama-cpp-python are refused before any function is called."""
    monkeypatch.setitem(ggml._FUNCTIONS, "ggml_of_tomorrow", (None, []))
    with pytest.raises(ggml.GgmlError, match="lack ggml_of_tomorrow"):
        ggml.load.__wrapped__()


def test_one_copy_of_the_library_is_loaded() -> None:
    """Two copies would have two registries, and two OpenMP teams on the same cores."""
    program = """
from t5engine.graph import ggml
ggml.load()
with open("/proc/self/maps") as maps:
    print(*{line.split()[-1] for line in maps if "libggml" in line}, sep="\\n")
"""
    # A separate process, because other tests load the quantiser's copy in this one.
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert len(result.stdout.splitlines()) == 3  # base, cpu, registry
