"""Keeps results of `peers`, and lists their medians over time.

`bench.py peers --history docs/history` keeps a run as docs/history/NAME-DATE.json, from which
`bench.py tables` prints the run's tables. `bench.py history` has a column per run, and a table per
shape, pair of lengths, processor and number of threads: times of different machines don't compare.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from t5bench.errors import BenchError
from t5bench.tables import format_table

DIRECTORY = Path(__file__).parents[2] / "docs/history"
NUMBERS = re.compile(r"\[\s+([-+.\deE,\s]+?)\s+\]")

Results = dict[str, Any]


def run(options: argparse.Namespace) -> None:
    """Prints the medians.

    Raises:
        BenchError: The directory has no results.
    """
    files = sorted(options.directory.glob("*.json"))
    if not files:
        raise BenchError(
            f"{options.directory} has no results: keep a run with `bench.py peers --history`"
        )
    print(format_history([json.loads(file.read_text(encoding="utf-8")) for file in files]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY)


def keep(results: Results, name: str, directory: Path) -> Path:
    """Writes results as NAME-DATE.json, or NAME-DATE-2.json and so on; returns the path."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-{results['machine']['time'][:10]}"
    path, number = directory / f"{stem}.json", 1
    while path.exists():
        number += 1
        path = directory / f"{stem}-{number}.json"
    path.write_text(to_json(results), encoding="utf-8")
    return path


def to_json(results: Results) -> str:
    """Returns the JSON of results, a list of numbers in one line."""
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    return NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text)


def format_history(runs: Sequence[Results]) -> str:
    """Returns a table of medians for each shape and machine, the oldest run first."""
    tables: dict[str, dict[int, Results]] = {}
    ordered = sorted(runs, key=lambda results: str(results["machine"]["time"]))
    for number, results in enumerate(ordered):
        for shape in results["shapes"]:
            tokens_in, tokens_out = shape["main"]
            title = (
                f"{shape['shape']}, {tokens_in} tokens in, {tokens_out} out, "
                f"{shape['threads']} threads, {results['machine']['processor']}"
            )
            tables.setdefault(title, {})[number] = shape
    dates = [results["machine"]["time"][:10] for results in ordered]
    return "\n\n".join(
        f"### {title}\n\n{_format_shapes(shapes, dates)}" for title, shapes in tables.items()
    )


def _format_shapes(shapes: dict[int, Results], dates: Sequence[str]) -> str:
    """Returns a row per candidate and a column per run, medians in milliseconds."""
    columns = [
        {
            cell["contestant"]: cell["median_ms"]
            for cell in shape["cells"]
            if [cell["tokens_in"], cell["tokens_out"]] == list(shape["main"])
        }
        for shape in shapes.values()
    ]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [
        [name, *(f"{column[name]:.1f}" if name in column else "" for column in columns)]
        for name in names
    ]
    return format_table(["", *(dates[number] for number in shapes)], rows)
