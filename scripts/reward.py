"""Makes rows of a model's answers: `python scripts/reward.py MODEL --requests FILE --out FILE`.

The model answers requests with several beams. The likeliest beam that the service's guards let
through becomes a row for `scripts/train.py`. The origin of the row is `corrected` if a likelier
beam had a fault, and otherwise `confirmed`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from t5eval import messages, systems
from t5eval.errors import EvaluationError
from t5serve.errors import RequestError
from t5serve.reformulation.options import Options
from t5train import asking, composer, searches
from t5train.pairs import PairsError, prefix
from t5train.reward import select_row
from t5train.shards import Request
from t5train.words import normal

log = logging.getLogger("reward")

MAX_TOKENS = 64


def main(arguments: list[str] | None = None) -> int:
    """Asks the model, writes the rows, and logs how many requests have one."""
    options = _build_parser().parse_args(arguments)
    try:
        held_out = {normal(row.source) for path in options.heldout for row in searches.read(path)}
        held_out |= composer.read_labelled()
        requests = _read_requests(options)
        rows = [
            row for task in requests for row in _answer(task, requests[task], held_out, options)
        ]
    except (PairsError, EvaluationError, RequestError, OSError) as error:
        sys.exit(f"reward: {error}")
    searches.write(options.out, rows)
    made = Counter(f"{row.task} {row.origin.partition('/')[0]}" for row in rows)
    for task, asked in requests.items():
        log.info("%-30s %7d", f"{task} asked", len(asked))
    for name, count in sorted(made.items()):
        log.info("%-30s %7d", name, count)
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("model", help="a GGUF file, a recipe's name or a checkpoint's directory")
    parser.add_argument("--requests", type=Path, required=True, help="of compose.py requests")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines for train.py --rows")
    parser.add_argument("--heldout", type=Path, nargs="*", default=[], help="of compose.py pairs")
    parser.add_argument("--most", type=int, default=20_000, help="requests of each task")
    parser.add_argument("--beams", type=int, default=8)
    return parser


def _read_requests(options: argparse.Namespace) -> dict[str, list[Request]]:
    """Returns the first requests of each task."""
    by_task: defaultdict[str, list[Request]] = defaultdict(list)
    for request in asking.read(options.requests):
        if len(by_task[request.task]) < options.most:
            by_task[request.task].append(request)
    return by_task


def _answer(
    task: str, requests: list[Request], held_out: set[str], options: argparse.Namespace
) -> Iterator[searches.Row]:
    """Yields the rows of one task; without guards, since the beams are judged here."""
    beams = Options(
        task=task,
        strategy="beam",
        n=options.beams,
        parameters={"num_beams": options.beams},
        max_tokens=MAX_TOKENS,
    )
    asked = [messages.Request(request.source, beams) for request in requests]
    answers = systems.answer_requests(options.model, asked, {task: prefix(task)})
    for request, answer in zip(requests, answers, strict=True):
        row = select_row(request, answer.texts, held_out)
        if row is not None:
            yield row


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.exit(main())
