"""The short version of tests/load/kernel_texts.py."""

from __future__ import annotations

import json
from pathlib import Path

from load.kernel_texts import GOLDEN, find_differences, list_kernels

NEAR = 0.2  # what quantised inputs change a logit by, at most


def test_kernels_say_the_same(embedded: Path) -> None:
    """All kernels decode the same texts, except where two tokens are about as likely."""
    queries = [case["query"] for case in json.loads(GOLDEN.read_text())["cases"]][:25]
    kernels = list_kernels()
    assert kernels[-1] == "ggml"
    differences = find_differences(embedded, queries, kernels)
    assert len(differences) < 0.1 * len(queries) * len(kernels)
    assert [one for one in differences if one.gap > NEAR] == []
