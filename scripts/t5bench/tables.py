"""Results as Markdown: printed, or put into a page between its two marks."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from t5bench.errors import BenchError

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

Results = dict[str, Any]


def run(options: argparse.Namespace) -> None:
    """Prints them, or rewrites the page.

    Raises:
        BenchError: the page lacks the marks.
    """
    text = markdown(json.loads(options.results.read_text(encoding="utf-8")))
    if options.into is None:
        print(text)
        return
    page = options.into.read_text(encoding="utf-8")
    options.into.write_text(insert(page, text), encoding="utf-8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Few."""
    parser.add_argument("results", type=Path, help="JSON that `peers` wrote")
    parser.add_argument("--into", type=Path, help=f"a page with {BEGIN} and {END}")


def insert(page: str, text: str) -> str:
    """The page with the text between its marks.

    Raises:
        BenchError: they are not there, once each and in order.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end) or BEGIN in tail or END in tail:
        raise BenchError(f"the page needs {BEGIN} and then {END}, each once")
    return f"{head}{BEGIN}\n\n{text.strip()}\n\n{END}{tail}"


def markdown(results: Results) -> str:
    """All tables."""
    return "\n\n".join([_machine(results["machine"]), *map(_shape, results["shapes"])]) + "\n"


def _machine(machine: Results) -> str:
    versions = ", ".join(f"{name} {one}" for name, one in machine["versions"].items() if one)
    return f"{machine['processor']}; {versions}; {machine['time'][:10]}."


def _shape(shape: Results) -> str:
    parts = [
        f"### {shape['shape']}: {shape['main'][0]} tokens in, {shape['main'][1]} out",
        f"{shape['threads']} threads, {shape['bytes_per_second'] / 1e9:.1f} GB/s.",
        _main(shape),
        "Medians in milliseconds, by tokens in and out:",
        _grid(shape),
    ]
    if shape["tournaments"]:
        parts += ["The settings that were tried, medians in milliseconds:", _trials(shape)]
    return "\n\n".join(parts)


def _main(shape: Results) -> str:
    cells = _by_lengths(shape)[tuple(shape["main"])]
    head = [
        *("", "median", "p95", "p99", "ratio", "a token", "of the limit", "HTTP adds"),
        *("peak memory", "private", "cold start", "logits off", "same answers"),
    ]
    rows = []
    for one in shape["contestants"]:
        cell = cells[one["name"]]
        token = next(
            (found for found in one["per_token"] if found["tokens_in"] == shape["main"][0]), None
        )
        rows.append(
            [
                one["name"],
                *(_ms(cell[name]) for name in ("median_ms", "p95_ms", "p99_ms")),
                f"{cell['ratio']:.2f}",
                _ms(token and token["ms"], 2),
                f"{token['share']:.0%}" if token else "",
                _ms(one["http_adds_ms"], 2),
                f"{one['peak_bytes'] / 1e6:.0f} MB",
                f"{one['private_bytes'] / 1e6:.0f} MB",
                f"{statistics.median(one['cold_start_ms']) / 1000:.2f} s",
                f"{one['logits']['rms']:.2g}" if one["logits"] else "",
                f"{one['agreement']:.0%}" if one["agreement"] is not None else "",
            ]
        )
    return table(head, rows)


def _grid(shape: Results) -> str:
    by_lengths = _by_lengths(shape)
    lengths = sorted(by_lengths, key=lambda pair: (pair[1], pair[0]))
    head = ["", *(f"{tokens_in} in, {out} out" for tokens_in, out in lengths)]
    rows = [
        [one["name"], *(_ms(by_lengths[pair][one["name"]]["median_ms"]) for pair in lengths)]
        for one in shape["contestants"]
    ]
    return table(head, rows)


def _trials(shape: Results) -> str:
    rows = [
        [trial["name"], settings, _ms(median)]
        for trial in shape["tournaments"]
        for settings, median in trial["median_ms"].items()
    ]
    return table(["", "settings", "median"], rows, 2)


def _by_lengths(shape: Results) -> dict[tuple[int, ...], dict[str, Results]]:
    """Cells by tokens in and out, then by contestant."""
    found: dict[tuple[int, ...], dict[str, Results]] = {}
    for cell in shape["cells"]:
        pair = (cell["tokens_in"], cell["tokens_out"])
        found.setdefault(pair, {})[cell["contestant"]] = cell
    return found


def _ms(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A Markdown table; after so many columns of text, the others are numbers."""
    rule = ["---"] * texts + ["--:"] * (len(head) - texts)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))
