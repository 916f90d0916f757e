"""Draws results as a picture."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

from t5eval import report
from t5eval.evaluation import Results
from t5eval.retrieval import METRICS

HEIGHT = 4.2
WIDTH = 5.6  # inches of a panel
GREY = "0.6"
MARKERS = "osD^vPX"


def save(results: Results, path: Path) -> None:
    """Writes a PNG with a panel for each set of pairs and each collection."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - of the extra

    panels = len(results["pairs"]) + len(results["collections"])
    figure: Any = Figure(figsize=(WIDTH * panels, HEIGHT), layout="constrained")
    axes = iter(figure.subplots(1, panels, squeeze=False)[0])
    colours = {model: f"C{index % 10}" for index, model in enumerate(results["models"])}
    for pair_set in results["pairs"]:
        _draw_pairs(next(axes), pair_set, colours)
    for collection in results["collections"]:
        _draw_collection(next(axes), collection, colours)
    figure.savefig(path, dpi=120, format="png")


def _draw_pairs(axis: Any, pair_set: Results, colours: dict[str, str]) -> None:  # noqa: ANN401
    """Draws similarity to the references over similarity to the inputs: up and left is better."""
    input_bleu = next(iter(pair_set["systems"].values()))["input_bleu"]
    axis.axhline(input_bleu, color=GREY, linestyle=":", linewidth=1)
    axis.scatter([100], [input_bleu], marker="*", color=GREY, s=120, label="the input itself")
    points = zip(pair_set["systems"].items(), cycle(MARKERS), strict=False)
    for (model, figures), marker in points:  # hollow markers: equal models do not hide each other
        axis.scatter(
            [figures["self_bleu"]],
            [figures["bleu"]],
            marker=marker,
            facecolors="none",
            edgecolors=colours[model],
            s=70,
            linewidths=1.8,
            label=model,
        )
    highest = max(input_bleu, *(figures["bleu"] for figures in pair_set["systems"].values()))
    axis.set(
        xlim=(0, 104),
        ylim=(0, 1.15 * highest or 1),
        xlabel="self-BLEU: output against input",
        ylabel="BLEU: output against reference",
        title=f"{report.set_title(pair_set)} ({pair_set['pairs']} pairs)",
    )
    axis.legend(loc="lower right", frameon=False)


def _draw_collection(axis: Any, collection: Results, colours: dict[str, str]) -> None:  # noqa: ANN401
    """Draws the mean of every metric; a star marks a significant difference to the original."""
    rows = collection["rows"]
    width = 0.8 / len(rows)
    for index, row in enumerate(rows):
        fused = row["searched_by"].startswith("original +")
        bars = axis.bar(
            [metric + (index - (len(rows) - 1) / 2) * width for metric in range(len(METRICS))],
            [row[name] for name in METRICS],
            width,
            color=colours[row["system"]] if row["system"] else GREY,
            alpha=1 if fused or not row["system"] else 0.5,
            label=": ".join(filter(None, (row["system"], row["searched_by"]))),
        )
        stars = ["*" if row.get(f"{name} p", 1.0) < report.SIGNIFICANT else "" for name in METRICS]
        axis.bar_label(bars, stars)
    axis.set_xticks(range(len(METRICS)), METRICS)
    axis.set(
        ylim=(0, 1.25 * max(row[name] for row in rows for name in METRICS)),
        title=f"{collection['name']} ({collection['queries']} queries; * p < {report.SIGNIFICANT})",
    )
    axis.legend(loc="upper left", frameon=False, fontsize="small")
