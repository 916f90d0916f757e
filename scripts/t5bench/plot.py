"""Results as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTH, ROW = 6.4, 0.34  # inches: of a panel, and of a contestant in it
OURS, OTHERS = "tab:blue", "0.6"


def save(results: dict[str, Any], path: Path) -> None:
    """For each shape its main pair of lengths, and how times grow with the input, as PNG.

    Where all shapes had one length of input, the second column is left out.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - of the extra

    shapes = results["shapes"]
    height = sum(1.6 + ROW * len(shape["contestants"]) for shape in shapes)
    panels = [_bars, _lines] if any(len(_lengths(shape)) > 1 for shape in shapes) else [_bars]
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


def _bars(axis: Any, shape: dict[str, Any]) -> None:  # noqa: ANN401 - matplotlib's
    """Medians of the main pair, whiskers to p95, the fastest on top."""
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
    above = [cell["p95_ms"] - cell["median_ms"] for cell in cells]
    bars = axis.barh(
        [cell["contestant"] for cell in cells],
        medians,
        xerr=[[0] * len(above), above],
        color=[OURS if _ours(cell["contestant"]) else OTHERS for cell in cells],
        error_kw={"ecolor": "0.25", "elinewidth": 1, "capsize": 2},
    )
    axis.bar_label(bars, [f"{median:.3g}" for median in medians], padding=3, fontsize="small")
    axis.margins(x=0.1)
    axis.set(
        title=f"{shape['shape']}: {tokens_in} tokens in, {tokens_out} out",
        xlabel="ms a request: median, whisker to p95",
    )


def _lines(axis: Any, shape: dict[str, Any]) -> None:  # noqa: ANN401 - matplotlib's
    """Medians by tokens in, for the main number of tokens out, in process."""
    out = shape["main"][1]
    for name in (one["name"] for one in shape["contestants"] if one["inside"] is None):
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


def _lengths(shape: dict[str, Any]) -> set[int]:
    """Of the inputs."""
    return {cell["tokens_in"] for cell in shape["cells"]}


def _ours(name: str) -> bool:
    return name.startswith("t5serve")
