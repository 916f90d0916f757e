"""Draws results as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTH, ROW = 6.4, 0.34  # inches: of a panel, and of a candidate's row
T5SERVE_COLOUR, PEER_COLOUR = "tab:blue", "0.6"


def save(results: dict[str, Any], path: Path) -> None:
    """Writes a PNG with two panels per shape: its main pair of lengths, and times by input length.

    The second column is left out if every shape has one input length only.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - of the extra

    shapes = results["shapes"]
    height = sum(1.6 + ROW * len(shape["contestants"]) for shape in shapes)
    has_lengths = any(len(_input_lengths(shape)) > 1 for shape in shapes)
    panels = [_draw_bars, _draw_lines] if has_lengths else [_draw_bars]
    figure: Any = Figure(figsize=(len(panels) * WIDTH, height), layout="constrained")
    grid = figure.subplots(
        len(shapes),
        len(panels),
        squeeze=False,
        height_ratios=[1.6 + ROW * len(shape["contestants"]) for shape in shapes],
    )
    for row, shape in zip(grid, shapes, strict=True):
        for axis, panel in zip(row, panels, strict=True):
            panel(axis, shape)
    figure.savefig(path, dpi=120, format="png")


def _draw_bars(axis: Any, shape: dict[str, Any]) -> None:  # noqa: ANN401 - matplotlib's
    """Draws medians of the main pair with whiskers to p95, the fastest on top."""
    tokens_in, tokens_out = shape["main"]
    cells = sorted(
        (
            cell
            for cell in shape["cells"]
            if (cell["tokens_in"], cell["tokens_out"]) == (tokens_in, tokens_out)
        ),
        key=lambda cell: -cell["median_ms"],
    )
    medians = [cell["median_ms"] for cell in cells]
    whiskers = [cell["p95_ms"] - cell["median_ms"] for cell in cells]
    bars = axis.barh(
        [cell["contestant"] for cell in cells],
        medians,
        xerr=[[0] * len(whiskers), whiskers],
        color=[_colour(cell["contestant"]) for cell in cells],
        error_kw={"ecolor": "0.25", "elinewidth": 1, "capsize": 2},
    )
    axis.bar_label(bars, [f"{median:.3g}" for median in medians], padding=3, fontsize="small")
    axis.margins(x=0.1)
    axis.set(
        title=f"{shape['shape']}: {tokens_in} tokens in, {tokens_out} out",
        xlabel="ms a request: median, whisker to p95",
    )


def _draw_lines(axis: Any, shape: dict[str, Any]) -> None:  # noqa: ANN401 - matplotlib's
    """Draws medians by tokens in, for the main number of tokens out, in process."""
    out = shape["main"][1]
    for name in (row["name"] for row in shape["contestants"] if row["inside"] is None):
        points = sorted(
            (cell["tokens_in"], cell["median_ms"])
            for cell in shape["cells"]
            if cell["contestant"] == name and cell["tokens_out"] == out
        )
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    axis.set(
        yscale="log",
        title=f"{shape['shape']}: by tokens in, {out} out, in process",
        xlabel="tokens in",
        ylabel="ms a request, median",
    )
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize="small")


def _input_lengths(shape: dict[str, Any]) -> set[int]:
    return {cell["tokens_in"] for cell in shape["cells"]}


def _colour(name: str) -> str:
    return T5SERVE_COLOUR if name.startswith("t5serve") else PEER_COLOUR
