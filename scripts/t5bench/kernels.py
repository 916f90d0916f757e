"""Compares the project's kernels with ggml's: each instruction set, the encoder and a token.

All run in one pinned process. Every round runs each of them once, and the times are medians. The
last lines name the cells in which ggml's kernels are faster. ggml's kernels are those that
llama-cpp-python was compiled with: for a comparison without AVX-512, put a build without it first
in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from t5bench import environment, probe
from t5bench.backends import make_ids, positive, step_bytes
from t5bench.errors import BenchError
from t5bench.tables import format_table
from t5engine.backend import Backend, BackendError
from t5engine.config import KernelsName
from t5engine.decoding.parameters import MAX_TOKENS

GGML: KernelsName = "ggml"
MAX_INPUT = 512
COLUMNS = ("file", "what", "kernels", "ms", "ggml's ms", "times as fast", "of the limit")


@dataclass(frozen=True)
class Cell:
    """One operation over one file.

    Attributes:
        file: path of the file: those of several models often have one name.
        what: the encoder over so many tokens, or a token of so many rows.
        limit_ms: the least time that reading the weights takes; None: not known.
    """

    file: str
    what: str
    limit_ms: float | None = None


Times = dict[str, list[float]]
"""Milliseconds by kernels."""


def run(options: argparse.Namespace) -> None:
    """Pins this process like a worker, measures, and prints a table.

    Raises:
        BenchError: A file can't be loaded, or the processor lacks an instruction set.
    """
    share = environment.pin_like_worker(options.threads)
    from t5engine.worker.model import LoadError, list_cpu_features  # noqa: PLC0415 - loads OpenMP

    speed = probe.measure_bandwidth(share.threads)
    print(f"{share.threads} threads, {speed / 1e9:.1f} GB/s, {options.rounds} rounds")
    cells: dict[Cell, Times] = {}
    for file in options.files:
        try:
            cells |= _measure(file, options, share.threads, speed)
        except (LoadError, BackendError) as error:
            raise BenchError(str(error)) from error
    print(f"ggml was compiled for {' '.join(list_cpu_features())}")
    print(format_table(COLUMNS, list_rows(cells), text_columns=3))
    slower = [row for row in list_rows(cells) if row[2] != GGML and float(row[5]) < 1]
    print(f"\nSlower than ggml's: {len(slower) or 'none'}")
    for row in slower:
        print(f"- {row[0]}, {row[1]}, {row[2]}: {row[5]} times as fast")


def list_rows(cells: dict[Cell, Times]) -> list[list[str]]:
    """Returns the rows of the table."""
    rows = []
    for cell, times in cells.items():
        medians = {kernels: statistics.median(values) for kernels, values in times.items()}
        for kernels, milliseconds in medians.items():
            share = "" if cell.limit_ms is None else f"{cell.limit_ms / milliseconds:.0%}"
            rows.append(
                [
                    *(cell.file, cell.what, kernels, f"{milliseconds:.3f}"),
                    *(f"{medians[GGML]:.3f}", f"{medians[GGML] / milliseconds:.2f}", share),
                ]
            )
    return rows


def _measure(
    file: Path, options: argparse.Namespace, threads: int, speed: float
) -> dict[Cell, Times]:
    """Measures a file with all kernels in turns."""
    backends = _load(file, options, threads)
    limit = 1000 * step_bytes(file) / speed
    cells: dict[Cell, Times] = {}
    for tokens in options.tokens_in:
        cell = Cell(str(file), f"encoder, {tokens} tokens")
        cells[cell] = _take_turns(backends, options.rounds, partial(_encode, tokens=tokens))
    for rows in options.rows:
        cell = Cell(str(file), f"token, {rows} rows", limit if rows == 1 else None)
        measure = partial(_decode, rows=rows, tokens=options.tokens_out)
        cells[cell] = _take_turns(backends, options.rounds, measure)
    return cells


def _load(file: Path, options: argparse.Namespace, threads: int) -> dict[str, Backend]:
    from t5engine.kernels.loader import Kernels  # noqa: PLC0415 - as above
    from t5engine.worker.model import load_model  # noqa: PLC0415 - as above

    chosen: Sequence[KernelsName] = options.kernels or [
        name for name in get_args(KernelsName) if name not in ("auto", GGML) and Kernels.find(name)
    ]
    return {
        kernels: load_model(
            file,
            backend="graph",
            threads=threads,
            rows=max(options.rows),
            max_input_tokens=max(MAX_INPUT, *options.tokens_in),
            max_tokens=MAX_TOKENS,
            logit_scale=1.0,
            kernels=kernels,
        ).backend
        for kernels in (*chosen, GGML)
    }


def _take_turns(
    backends: dict[str, Backend], rounds: int, measure: Callable[[Backend], float]
) -> Times:
    """Runs a measurement on each backend in turn; the first round builds graphs."""
    times: Times = defaultdict(list)
    for number in range(rounds + 1):
        for name, backend in backends.items():
            milliseconds = measure(backend)
            if number:
                times[name].append(milliseconds)
    return times


def _encode(backend: Backend, tokens: int) -> float:
    """Returns the milliseconds of an encode."""
    started = time.perf_counter()
    backend.encode(0, make_ids(tokens))
    milliseconds = 1000 * (time.perf_counter() - started)
    backend.release(0)
    return milliseconds


def _decode(backend: Backend, rows: int, tokens: int) -> float:
    """Returns the milliseconds of a step of so many rows, each with an input of its own."""
    batch = list(range(rows))
    for row in batch:
        backend.encode(row, make_ids(12))
    started = time.perf_counter()
    for _ in range(tokens):
        backend.step(batch, [5] * rows)
    milliseconds = 1000 * (time.perf_counter() - started) / tokens
    for row in batch:
        backend.release(row)
    return milliseconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("files", nargs="+", type=Path, help="GGUF files")
    parser.add_argument(
        "--kernels",
        nargs="+",
        choices=[name for name in get_args(KernelsName) if name != GGML],
        help="by default those of each instruction set that the processor has",
    )
    parser.add_argument("--tokens-in", nargs="+", type=positive, default=[12, 32])
    parser.add_argument("--tokens-out", type=positive, default=12)
    parser.add_argument("--rows", nargs="+", type=positive, default=[1, 4, 16])
    parser.add_argument("--rounds", type=positive, default=25)
    parser.add_argument("--threads", type=positive)
