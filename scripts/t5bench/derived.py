"""Figures derived from the times of one shape: ratios, time per token, and HTTP's share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t5bench import figures

Results = dict[str, Any]
Cells = Mapping[tuple[str, int, int], Results]
"""Cells by candidate, tokens in and tokens out."""


def add_derived(results: Results) -> None:
    """Completes a shape's results from its `contestants`, `cells` and `bytes_per_second`.

    Each cell gets `ratio`, its median / the baseline's median. Each candidate gets `per_token`
    for every input length, and `http_adds_ms` if it runs over HTTP.
    """
    cells = {(c["contestant"], c["tokens_in"], c["tokens_out"]): c for c in results["cells"]}
    results["baseline"] = select_baseline(results["contestants"])
    for (_, *lengths), cell in cells.items():
        reference = cells[results["baseline"], lengths[0], lengths[1]]
        cell["ratio"] = cell["median_ms"] / reference["median_ms"]
    tokens_in, tokens_out = results["main"]
    for row in results["contestants"]:
        row["per_token"] = _time_per_token(row, cells, results["bytes_per_second"])
        row["http_adds_ms"] = None
        if row["inside"] is not None:
            http = cells[row["name"], tokens_in, tokens_out]
            in_process = cells[row["inside"], tokens_in, tokens_out]
            row["http_adds_ms"] = http["other_ms"] - in_process["other_ms"]


def select_baseline(rows: Sequence[Results]) -> str:
    """Returns the name of the baseline of the ratios.

    The baseline is the smallest file over HTTP with the first instruction set, or else the first
    candidate.
    """
    names: list[str] = [
        row["name"]
        for row in rows
        if row["name"].endswith(", HTTP")
        and row.get("instruction_sets") == rows[0].get("instruction_sets")
    ]
    return names[-1] if names else str(rows[0]["name"])


def _time_per_token(candidate: Results, cells: Cells, bytes_per_second: float) -> list[Results]:
    """Returns the time per token by input length.

    An input length is left out if it has one output length only, or no positive slope.
    """
    medians: dict[int, dict[int, float]] = {}
    for (name, tokens_in, tokens_out), cell in cells.items():
        if name == candidate["name"]:
            medians.setdefault(tokens_in, {})[tokens_out] = cell["median_ms"]
    rows = []
    for tokens_in, by_output in medians.items():
        token_ms = figures.time_per_token(by_output)
        if token_ms is None or token_ms <= 0:  # noise, in a run with few rounds
            continue
        positions = tokens_in + (min(by_output) + max(by_output)) / 2
        read_bytes = candidate["weight_bytes"] + positions * candidate["position_bytes"]
        limit = 1000 * read_bytes / bytes_per_second
        rows.append(
            {"tokens_in": tokens_in, "ms": token_ms, "limit_ms": limit, "share": limit / token_ms}
        )
    return rows
