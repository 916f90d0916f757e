"""Formats results as Markdown: printed, or inserted into a page between two marks."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from t5bench.errors import BenchError

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

Results = dict[str, Any]


def run(options: argparse.Namespace) -> None:
    """Prints the tables, or rewrites the page.

    Raises:
        BenchError: The page lacks the marks.
    """
    text = format_tables(json.loads(options.results.read_text(encoding="utf-8")))
    if options.into is None:
        print(text)
        return
    page = options.into.read_text(encoding="utf-8")
    options.into.write_text(insert(page, text), encoding="utf-8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("results", type=Path, help="JSON that `peers` wrote")
    parser.add_argument("--into", type=Path, help=f"a page with {BEGIN} and {END}")


def insert(page: str, text: str) -> str:
    """Returns the page with the text between its marks.

    Raises:
        BenchError: The page does not have each mark once, in order.
    """
    head, begin, after = page.partition(BEGIN)
    _, end, tail = after.partition(END)
    if not (begin and end) or BEGIN in tail or END in tail:
        raise BenchError(f"the page needs {BEGIN} and then {END}, each once")
    return f"{head}{BEGIN}\n\n{text.strip()}\n\n{END}{tail}"


def format_tables(results: Results) -> str:
    """Returns the tables of all shapes."""
    parts = [_format_machine(results["machine"]), *map(_format_shape, results["shapes"])]
    return "\n\n".join(parts) + "\n"


def _format_machine(machine: Results) -> str:
    features = ", ".join(machine["features"])
    packages = "; ".join(
        f"{group}: Python {described['python']}, "
        + ", ".join(f"{name} {version}" for name, version in described["versions"].items())
        for group, described in machine["packages"].items()
    )
    commit = f" ({machine['commit']})" if machine["commit"] else ""
    return f"{machine['processor']} ({features}); {machine['time'][:10]}{commit}.\n\n{packages}."


def _format_shape(shape: Results) -> str:
    parts = [
        f"### {shape['shape']}: {shape['main'][0]} tokens in, {shape['main'][1]} out",
        f"{shape['threads']} threads; memory bandwidth {shape['bytes_per_second'] / 1e9:.1f} GB/s.",
        _format_main(shape),
        "Medians in milliseconds, by tokens in and out:",
        _format_lengths(shape),
        "Instruction sets, threads and settings of each candidate:",
        _format_allowances(shape),
    ]
    if shape["tournaments"]:
        title = (
            "Before the run, short trials compared the settings of each peer. These are the "
            "medians of the trials in milliseconds, which differ a little from those of the run:"
        )
        parts += [title, _format_trials(shape)]
    return "\n\n".join(parts)


def _format_main(shape: Results) -> str:
    cells = _group_cells(shape)[tuple(shape["main"])]
    head = [
        *("", "median", "p95", "p99", "ratio", "CPU s per 1,000"),
        *("ms per token", "share of limit", "HTTP overhead"),
        *("peak memory", "private", "cold start", "logit error", "same answers"),
    ]
    rows = []
    for candidate in shape["contestants"]:
        cell = cells[candidate["name"]]
        token = next(
            (row for row in candidate["per_token"] if row["tokens_in"] == shape["main"][0]), None
        )
        logits, agreement = candidate["logits"], candidate["agreement"]
        rows.append(
            [
                candidate["name"],
                *(_ms(cell[name]) for name in ("median_ms", "p95_ms", "p99_ms")),
                f"{cell['ratio']:.2f}",
                _ms(cell["cpu_seconds"]),
                _ms(token and token["ms"], 2),
                f"{token['share']:.0%}" if token else "",
                _ms(candidate["http_adds_ms"], 2),
                f"{candidate['peak_bytes'] / 1e6:.0f} MB",
                f"{candidate['private_bytes'] / 1e6:.0f} MB",
                f"{statistics.median(candidate['cold_start_ms']) / 1000:.2f} s",
                f"{logits['rms']:.2g}" if logits else "",
                f"{agreement:.0%}" if agreement is not None else "",
            ]
        )
    return format_table(head, rows)


def _format_lengths(shape: Results) -> str:
    by_lengths = _group_cells(shape)
    lengths = sorted(by_lengths, key=lambda pair: (pair[1], pair[0]))
    head = ["", *(f"{tokens_in} in, {out} out" for tokens_in, out in lengths)]
    rows = [
        [name, *(_ms(by_lengths[pair][name]["median_ms"]) for pair in lengths)]
        for name in (candidate["name"] for candidate in shape["contestants"])
    ]
    return format_table(head, rows)


def _format_allowances(shape: Results) -> str:
    rows = [
        [
            row["name"],
            row["instruction_sets"],
            str(row["threads"]),
            row["best"] or "",
            ", ".join(_format_settings(row["settings"])),
        ]
        for row in shape["contestants"]
    ]
    head = ["", "instruction sets", "threads", "fastest settings, in words (peers)", "settings"]
    return format_table(head, rows, 5)


def _format_settings(settings: Results) -> Iterator[str]:
    """Yields NAME=VALUE for each setting, nested ones too, without the threads."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _format_settings(value)
        elif name != "threads":
            yield f"{name}={value}"


def _format_trials(shape: Results) -> str:
    rows = [
        [trial["name"], settings, _ms(median)]
        for trial in shape["tournaments"]
        for settings, median in trial["median_ms"].items()
    ]
    return format_table(["", "settings", "median"], rows, 2)


def _group_cells(shape: Results) -> dict[tuple[int, ...], dict[str, Results]]:
    """Returns cells by tokens in and out, then by candidate."""
    by_lengths: dict[tuple[int, ...], dict[str, Results]] = {}
    for cell in shape["cells"]:
        pair = (cell["tokens_in"], cell["tokens_out"])
        by_lengths.setdefault(pair, {})[cell["contestant"]] = cell
    return by_lengths


def _ms(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """Returns a Markdown table; the columns after the first `text_columns` are numbers."""
    rule = ["---"] * text_columns + ["--:"] * (len(head) - text_columns)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))
