"""Formats figures for the tables and sentences of docs/quality.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from t5eval.quality.comparison import METRICS
from t5eval.quality.verdict import Verdict
from t5eval.report import SIGNIFICANT, format_table

Row = Mapping[str, Any]


def signed(value: float) -> str:
    """Returns points with their sign."""
    return f"{100 * value:+.2f}".replace("-0.00", "+0.00")


def share(value: float | None) -> str:
    """Returns a share in per cent; nothing without a value."""
    return "" if value is None else f"{100 * value:.1f} %"


def probability(value: float | None) -> str:
    """Returns a p-value, in bold if it is significant; nothing without a value."""
    if value is None:
        return ""
    return f"**{value:.4f}**" if value < SIGNIFICANT else f"{value:.4f}"


def describe(verdict: Verdict) -> str:
    """Returns two sentences: mean differences; significant gains and losses."""
    changes = " and ".join(
        f"{signed(verdict.difference[metric])} points of {metric}" for metric in METRICS
    )
    gains = ", ".join(f"{metric} on {name}" for name, metric in verdict.gains) or "none"
    losses = ", ".join(f"{metric} on {name}" for name, metric in verdict.losses) or "none"
    return f"{changes}. Significant gains: {gains}; significant losses: {losses}."


def format_rows(rows: Iterable[Row]) -> str:
    """Returns the table of one collection's rows."""
    head = ["searched with", "reformulations"]
    for metric in METRICS:
        head += [metric, "p"]
    lines = []
    for row in rows:
        line = [row["combination"], f"`{row['task']}`" if row["task"] else ""]
        for metric in METRICS:
            line += [f"{row[metric]:.4f}", probability(row.get(f"{metric} p"))]
        lines.append(line)
    return format_table(head, lines, 2)
