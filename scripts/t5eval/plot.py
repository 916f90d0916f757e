"""Results as a picture."""

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
    """A panel for each set of pairs and each collection, side by side, as PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - of the extra

    panels = len(results["pairs"]) + len(results["collections"])
    figure: Any = Figure(figsize=(WIDTH * panels, HEIGHT), layout="constrained")
    axes = iter(figure.subplots(1, panels, squeeze=False)[0])
    colours = {model: f"C{place % 10}" for place, model in enumerate(results["models"])}
    for found in results["pairs"]:
        _pairs(next(axes), found, colours)
    for found in results["collections"]:
        _collection(next(axes), found, colours)
    figure.savefig(path, dpi=120, format="png")


def _pairs(axis: Any, found: Results, colours: dict[str, str]) -> None:  # noqa: ANN401
    """Likeness to the references against likeness to the inputs: up and left is better."""
    copying = next(iter(found["systems"].values()))["input_bleu"]
    axis.axhline(copying, color=GREY, linestyle=":", linewidth=1)
    axis.scatter([100], [copying], marker="*", color=GREY, s=120, label="the input itself")
    places = zip(found["systems"].items(), cycle(MARKERS), strict=False)
    for (model, figures), marker in places:  # hollow: equal models hide nothing
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
    highest = max(copying, *(figures["bleu"] for figures in found["systems"].values()))
    axis.set(
        xlim=(0, 104),
        ylim=(0, 1.15 * highest or 1),
        xlabel="self-BLEU: output against input",
        ylabel="BLEU: output against reference",
        title=f"{report.title(found)} ({found['pairs']} pairs)",
    )
    axis.legend(loc="lower right", frameon=False)


def _collection(axis: Any, found: Results, colours: dict[str, str]) -> None:  # noqa: ANN401
    """The means of every metric; a star where the difference to the original is significant."""
    rows = found["rows"]
    width = 0.8 / len(rows)
    for place, row in enumerate(rows):
        fused = row["searched_by"].startswith("original +")
        bars = axis.bar(
            [spot + (place - (len(rows) - 1) / 2) * width for spot in range(len(METRICS))],
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
        title=f"{found['name']} ({found['queries']} queries; * p < {report.SIGNIFICANT})",
    )
    axis.legend(loc="upper left", frameon=False, fontsize="small")
