"""Draws the loss over time as a picture."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path


def read_curves(history: Path) -> dict[str, list[tuple[float, float]]]:
    """Returns curves by name, each of (minutes, loss)."""
    curves: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in history.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name not in {"step", "minutes"}:
                curves[name].append((row["minutes"], value))
    return dict(curves)


def draw(history: Path, picture: Path) -> None:
    """Draws the curves of a history file into a picture file."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to load, needed once at the end

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, points in read_curves(history).items():
        axes.plot(*zip(*points, strict=True), marker=".", label=name)
    axes.set(xlabel="minutes", ylabel="cross-entropy per token")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(picture)
