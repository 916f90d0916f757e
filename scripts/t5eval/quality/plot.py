"""Draws what combinations gain and lose, and what typos cost before and after correction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from t5eval.quality.combination import ALONE, COMBINATIONS, FEEDBACK, LONG_LIST, ORIGINAL
from t5eval.quality.measurement import Results
from t5eval.quality.verdict import find_row
from t5eval.report import SIGNIFICANT

SIZE = (11.0, 4.6)  # inches
METRIC = "nDCG@10"
GREY = "0.75"


def save(results: Results, task: str, path: Path) -> None:
    """Writes a PNG with two panels.

    Args:
        results: What `measure` returned.
        task: The rewording task whose combinations are drawn.
        path: The file.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - of the extra

    figure: Any = Figure(figsize=SIZE, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_combinations(left, results["retrieval"], task)
    _draw_typos(right, results["typos"])
    figure.savefig(path, dpi=80, format="png")


def _draw_combinations(axis: Any, collections: Sequence[Any], task: str) -> None:  # noqa: ANN401
    """Draws a point per collection and combination; filled: the difference is significant."""
    rows = [
        (FEEDBACK, None),
        (LONG_LIST, None),
        (ALONE, task),
        *((name, task) for name in COMBINATIONS),
    ]
    axis.axvline(0, color=GREY, linewidth=1)
    for number, collection in enumerate(collections):
        original = find_row(collection, ORIGINAL, None)[METRIC]
        for height, (name, row_task) in enumerate(reversed(rows)):
            row = find_row(collection, name, row_task)
            colour = f"C{number}"
            axis.scatter(
                [100 * (row[METRIC] - original)],
                [height + 0.12 * (number - (len(collections) - 1) / 2)],
                s=26,
                facecolors=colour if row[f"{METRIC} p"] < SIGNIFICANT else "none",
                edgecolors=colour,
                label=collection["name"] if height == 0 else None,
            )
    axis.set_yticks(
        range(len(rows)),
        [name.removeprefix("original, ") for name, _ in reversed(rows)],
        fontsize="small",
    )
    axis.set(
        xlabel=f"difference to the original, points of {METRIC}; filled: p < {SIGNIFICANT}",
        title=f"Searches with `{task}`",
    )
    axis.legend(loc="lower left", frameon=False, fontsize="small")


def _draw_typos(axis: Any, collections: Sequence[Any]) -> None:  # noqa: ANN401 - as above
    """Draws groups of bars: typed, corrected by each system, clean."""
    names = ["typed", *(row["system"] for row in collections[0]["rows"]), "clean"]
    width = 0.85 / len(names)
    for number, name in enumerate(names):
        values = [100 * _find_typo_value(collection, name) for collection in collections]
        offsets = [index + (number - len(names) / 2) * width for index in range(len(values))]
        colour = {"typed": "0.4", "clean": GREY}.get(name, f"C{number}")
        axis.bar(offsets, values, width, color=colour, label=name)
    axis.set_xticks(range(len(collections)), [item["name"] for item in collections])
    highest = max(collection["clean"][METRIC] for collection in collections)
    axis.set(
        ylim=(0, 160 * highest), ylabel=f"{METRIC}, points", title="Two typos per query, corrected"
    )
    axis.legend(loc="upper left", frameon=False, fontsize="small")


def _find_typo_value(collection: Any, name: str) -> float:  # noqa: ANN401 - as above
    if name in ("typed", "clean"):
        return float(collection[name][METRIC])
    return float(next(row[METRIC] for row in collection["rows"] if row["system"] == name))
