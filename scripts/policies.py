"""What quantisation policies make of a checkpoint: `python scripts/policies.py DIR --queries FILE`.

Each is written as a file, verified and served: its size, what a decode step reads of it, how far
its logits are from the reference's, and how many queries it answers as the F16 file does.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from gguf import GGMLQuantizationType as Type

from t5engine.config import WorkerConfig
from t5engine.cpus import plan
from t5engine.decoding.config import GenerationConfig
from t5engine.pool.engine import Engine
from t5gguf import size
from t5gguf.convert import Converter
from t5gguf.errors import ConversionError
from t5gguf.quantize import expand_group_type
from t5gguf.tensor_map import Role
from t5gguf.verify import MAX_INPUT_TOKENS, LogitComparison
from t5gguf.writer import Provenance
from t5serve.concurrency import gather

BASELINE = "F16"
USUAL = (
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
    """One policy's file: bytes, those that a step reads, logit error, each answer in ids."""

    policy: str
    size: int
    step: int
    comparison: LogitComparison
    answers: list[list[int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table in Markdown; one line and status 1 when a file can't be made."""
    options = _parser().parse_intermixed_args(arguments)  # policies may come last
    try:
        rows = _measure(options)
    except (ConversionError, OSError, UnicodeDecodeError) as error:
        print(f"policies: {error}", file=sys.stderr)
        return 1
    print(table(rows))
    return 0


def _measure(options: argparse.Namespace) -> list[Row]:
    lines = options.queries.read_text(encoding="utf-8").splitlines()
    queries = [line for line in lines if line.strip()]
    if not queries:
        raise ConversionError(f"{options.queries} has no query: expected one a line")
    tasks = {f"task{place}": prefix for place, prefix in enumerate(options.prefix or [""])}
    converter = Converter(options.source, Provenance("x", tasks=tasks), queries)
    encode = converter.vocabulary.encode
    inputs = [encode(tasks["task0"] + query)[-MAX_INPUT_TOKENS:] for query in queries]
    rows = []
    with TemporaryDirectory() as place:
        for policy in (BASELINE, *(options.policies or USUAL)):
            path = Path(place) / "policy.gguf"
            file_type, types = parse(policy)
            written = converter.convert(path, file_type, types=types, force=True, progress=False)
            answers = asyncio.run(_answers(path, inputs, options.max_tokens))
            step = size.sum_step_bytes(written.tensors)
            rows.append(Row(policy, written.size, step, written.comparison, answers))
    return rows


def parse(policy: str) -> tuple[str, dict[Role, Type]]:
    """A file's type and, by role, the types of groups that have others.

    Raises:
        ConversionError: no such group or type of a group.
    """
    file_type, *groups = policy.split(",")
    types: dict[Role, Type] = {}
    for group in groups:
        name, _, kind = group.partition("=")
        types |= expand_group_type(name, kind)
    return file_type, types


async def _answers(path: Path, inputs: list[list[int]], max_tokens: int) -> list[list[int]]:
    """What the service decodes greedily; one at a time, since company can tip a near-tie."""
    share = plan(1, None)[0]
    config = WorkerConfig(
        str(path), share.threads, list(share.cpus), MAX_INPUT_TOKENS, max_tokens, max_batch=1
    )
    greedy = GenerationConfig(max_tokens=max_tokens)
    async with Engine([config], max_queue=len(inputs)) as engine:
        results = await gather(engine.generate(greedy, ids=ids, timeout=TIMEOUT) for ids in inputs)
    return [result.generated.best.tokens for result in results]


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown, agreement counted against the first one."""
    columns = "policy | file | a step reads | logit error | same best token | same answer as "
    lines = [f"| {columns}{rows[0].policy} |", "|---|---|---|---|---|---|"]
    for row in rows:
        same = sum(map(list.__eq__, row.answers, rows[0].answers)) / len(row.answers)
        lines.append(
            f"| {row.policy} | {row.size / 1e6:.2f} MB | {row.step / 1e6:.2f} MB "
            f"| {row.comparison.rms:.4f} | {row.comparison.agreement:.1%} | {same:.1%} |"
        )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare quantisation policies of a checkpoint.")
    parser.add_argument("source", type=Path, help="directory with config.json and the weights")
    parser.add_argument(
        "policies",
        nargs="*",
        metavar="POLICY",
        help=f"a file's type, and that of some groups: by default {' '.join(USUAL)}",
    )
    parser.add_argument("--queries", type=Path, required=True, help="held-out, one a line")
    parser.add_argument(
        "--prefix",
        action="append",
        help="before each query; more of them take turns in calibration only",
    )
    parser.add_argument("--max-tokens", type=int, default=64, help="of an answer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
