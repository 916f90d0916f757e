"""What follows from the measured times of one shape: ratios, time per token, what HTTP adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t5bench import figures

Results = dict[str, Any]
Cells = Mapping[tuple[str, int, int], Results]
"""By contestant, tokens in and tokens out."""


def add(results: Results) -> None:
    """Completes a shape's results from its `contestants`, `cells` and `bytes_per_second`.

    Each cell gets `ratio`, its median over the baseline's. Each contestant gets `per_token` for
    every input length, and `http_adds_ms` if it is asked over HTTP.
    """
    cells = {(c["contestant"], c["tokens_in"], c["tokens_out"]): c for c in results["cells"]}
    results["baseline"] = baseline([one["name"] for one in results["contestants"]])
    for (_, *lengths), cell in cells.items():
        reference = cells[results["baseline"], lengths[0], lengths[1]]
        cell["ratio"] = cell["median_ms"] / reference["median_ms"]
    tokens_in, tokens_out = results["main"]
    for one in results["contestants"]:
        one["per_token"] = _per_token(one, cells, results["bytes_per_second"])
        one["http_adds_ms"] = None
        if one["inside"] is not None:
            both = [cells[name, tokens_in, tokens_out] for name in (one["name"], one["inside"])]
            one["http_adds_ms"] = both[0]["other_ms"] - both[1]["other_ms"]


def baseline(names: Sequence[str]) -> str:
    """Of whose times the others' are multiples: the smallest file over HTTP, else the first."""
    over_http = [name for name in names if name.endswith(", HTTP")]
    return over_http[-1] if over_http else names[0]


def _per_token(contestant: Results, cells: Cells, bytes_per_second: float) -> list[Results]:
    """By input length; none where there is one output length only, or no slope to be seen."""
    medians: dict[int, dict[int, float]] = {}
    for (name, tokens_in, tokens_out), cell in cells.items():
        if name == contestant["name"]:
            medians.setdefault(tokens_in, {})[tokens_out] = cell["median_ms"]
    found = []
    for tokens_in, by_output in medians.items():
        taken = figures.token_ms(by_output)
        if taken is None or taken <= 0:  # noise, of a run with few rounds
            continue
        positions = tokens_in + (min(by_output) + max(by_output)) / 2
        read = contestant["weight_bytes"] + positions * contestant["position_bytes"]
        limit = 1000 * read / bytes_per_second
        found.append(
            {"tokens_in": tokens_in, "ms": taken, "limit_ms": limit, "share": limit / taken}
        )
    return found
