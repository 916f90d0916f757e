"""Compares quantisation policies of a checkpoint: `python scripts/policies.py DIR --queries FILE`.

Each policy is written as a file, verified and served. The table has the file's size, the bytes
that a decode step reads, the error of its logits, and the share of answers equal to the F16 file's.
With `--rounds`, the files then answer in turns, and the table has the median time of an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from gguf import GGMLQuantizationType as Type

from t5engine.config import WorkerConfig
from t5engine.cpus import plan
from t5engine.decoding.parameters import GenerationConfig
from t5engine.pool.engine import Engine
from t5gguf import size
from t5gguf.convert import Converter
from t5gguf.errors import ConversionError
from t5gguf.quantize import expand_group_type
from t5gguf.tasks import Task
from t5gguf.tensor_map import Role
from t5gguf.verify import MAX_INPUT_TOKENS, LogitComparison
from t5gguf.writer import Provenance
from t5serve.concurrency import gather

BASELINE = "F16"
DEFAULT_POLICIES = (
    "Q8_0",
    "Q4_0",
    "Q4_0,embedding=Q6_K",
    "Q4_0,embedding=Q8_0",
    "Q4_0,attention=Q8_0",
    "Q4_0,ffn=Q8_0",
)
TIMEOUT = 3600.0  # seconds that the last query may wait for the others


@dataclass(frozen=True)
class Row:
    """The measurements of one policy's file.

    Attributes:
        policy: The type of the file, and types of groups.
        size: Bytes of the file.
        step: Bytes that a decode step reads.
        figures: Logit errors.
        answers: Token ids of the answer to each query.
        answer_ms: Median milliseconds of an answer in the worker; None: not measured.
    """

    policy: str
    size: int
    step: int
    comparison: LogitComparison
    answers: list[list[int]]
    answer_ms: float | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a Markdown table; returns 1 after one line on stderr if a file can't be made."""
    options = _build_parser().parse_intermixed_args(arguments)  # policies may come last
    try:
        rows = _measure_policies(options)
    except (ConversionError, OSError, UnicodeDecodeError) as error:
        print(f"policies: {error}", file=sys.stderr)
        return 1
    print(format_table(rows))
    return 0


def _measure_policies(options: argparse.Namespace) -> list[Row]:
    lines = options.queries.read_text(encoding="utf-8").splitlines()
    queries = [line for line in lines if line.strip()]
    if not queries:
        raise ConversionError(f"{options.queries} has no query: expected one per line")
    prefixes = enumerate(options.prefix or [""])
    tasks = {f"task{index}": Task.of_prefix(prefix) for index, prefix in prefixes}
    converter = Converter(options.source, Provenance("x", tasks=tasks), queries)
    encode = converter.vocabulary.encode
    inputs = [encode(tasks["task0"].render(query))[-MAX_INPUT_TOKENS:] for query in queries]
    rows = []
    with TemporaryDirectory() as directory:
        paths = []
        for policy in (BASELINE, *(options.policies or DEFAULT_POLICIES)):
            path = Path(directory) / f"{policy}.gguf"
            paths.append(path)
            file_type, types = parse_policy(policy)
            written = converter.convert(path, file_type, types=types, force=True, progress=False)
            answers = asyncio.run(_decode(path, inputs, options.max_tokens))
            step = size.sum_step_bytes(written.tensors)
            rows.append(Row(policy, written.size, step, written.comparison, answers))
            if not options.rounds:
                path.unlink()
        if options.rounds:
            timed = inputs[: options.timed]
            times = asyncio.run(_time(paths, timed, options.rounds, options.max_tokens))
            rows = [replace(row, answer_ms=ms) for row, ms in zip(rows, times, strict=True)]
    return rows


def parse_policy(policy: str) -> tuple[str, dict[Role, Type]]:
    """Returns a file's type and, by role, the types of groups that differ from the file's type.

    Raises:
        ConversionError: A group or its type is unknown.
    """
    file_type, *groups = policy.split(",")
    types: dict[Role, Type] = {}
    for group in groups:
        name, _, tensor_type = group.partition("=")
        types |= expand_group_type(name, tensor_type)
    return file_type, types


async def _decode(path: Path, inputs: list[list[int]], max_tokens: int) -> list[list[int]]:
    """Returns the service's greedy outputs, decoded one by one: a batch can flip a near-tie."""
    greedy = GenerationConfig(max_tokens=max_tokens)
    async with _open_engine(path, max_tokens, len(inputs)) as engine:
        results = await gather(engine.generate(greedy, ids=ids, timeout=TIMEOUT) for ids in inputs)
    return [result.generated.best.tokens for result in results]


async def _time(
    paths: Sequence[Path], inputs: list[list[int]], rounds: int, max_tokens: int
) -> list[float]:
    """Returns the median milliseconds of an answer of each file; the files take turns."""
    greedy = GenerationConfig(max_tokens=max_tokens)
    times: list[list[float]] = [[] for _ in paths]
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(_open_engine(path, max_tokens, 1)) for path in paths
        ]
        for number in range(rounds + 1):
            for ids in inputs:
                for engine, taken in zip(engines, times, strict=True):
                    result = await engine.generate(greedy, ids=ids, timeout=TIMEOUT)
                    if number:  # the first round builds graphs
                        taken.append(result.generated.timings.total)
    return [median(taken) for taken in times]


def _open_engine(path: Path, max_tokens: int, max_queue: int) -> Engine:
    share = plan(1, None)[0]
    config = WorkerConfig(
        str(path), share.threads, list(share.cpus), MAX_INPUT_TOKENS, max_tokens, max_batch=1
    )
    return Engine([config], max_queue=max_queue)


def format_table(rows: Sequence[Row]) -> str:
    """Returns the rows as a Markdown table; agreement is with the first row."""
    columns = "policy | file | a step reads | logit error | same best token | same answer as "
    is_timed = rows[0].answer_ms is not None
    head, rule = (" an answer |", "---|") if is_timed else ("", "")
    lines = [f"| {columns}{rows[0].policy} |{head}", f"|---|---|---|---|---|---|{rule}"]
    for row in rows:
        time = "" if row.answer_ms is None else f" {row.answer_ms:.2f} ms |"
        agreement = sum(map(list.__eq__, row.answers, rows[0].answers)) / len(row.answers)
        lines.append(
            f"| {row.policy} | {row.size / 1e6:.2f} MB | {row.step / 1e6:.2f} MB "
            f"| {row.comparison.rms:.4f} | {row.comparison.agreement:.1%} | {agreement:.1%} |{time}"
        )
    return "\n".join(lines)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare quantisation policies of a checkpoint.")
    parser.add_argument("source", type=Path, help="directory with config.json and the weights")
    parser.add_argument(
        "policies",
        nargs="*",
        metavar="POLICY",
        help=f"a file's type, and types of groups: by default {' '.join(DEFAULT_POLICIES)}",
    )
    parser.add_argument(
        "--queries", type=Path, required=True, help="held-out queries, one per line"
    )
    parser.add_argument(
        "--prefix",
        action="append",
        help="text before each query; further prefixes are used in turn, in calibration only",
    )
    parser.add_argument("--max-tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--rounds", type=int, default=0, help="of timing; 0: no times")
    parser.add_argument("--timed", type=int, default=20, help="queries of a round of timing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
