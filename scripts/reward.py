"""Makes pairs of a model's answers: `python scripts/reward.py MODEL --pairs TSV --out TSV`.

Asks a model (GGUF file, recipe or checkpoint) the sources of one task's pairs. Where the greedy
answer has a fault, the best of the beams becomes a new pair for `scripts/train.py`: copies and
losses are faults of the model, which no pair of the public sets corrects. For the task `fix`, the
pairs that the model gets wrong are written unchanged.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections import defaultdict
from pathlib import Path

from t5eval.errors import EvaluationError
from t5eval.messages import Request
from t5eval.systems import answer_requests
from t5serve.errors import RequestError
from t5serve.reformulation.options import Options
from t5train import pairs
from t5train.pairs import Pair, PairsError
from t5train.reward import EXPAND, FIX, PARAPHRASE, AnswerRater
from t5train.words import Frequencies, normal

log = logging.getLogger("reward")

MAX_TOKENS = 48


def main(arguments: list[str] | None = None) -> int:
    """Asks the model, writes the pairs, and logs how many answers had a fault."""
    options = _build_parser().parse_args(arguments)
    try:
        held_out = {normal(t) for path in options.heldout for p in pairs.read(path) for t in p[1:]}
        references = _read_references(options, held_out)
    except (PairsError, OSError) as error:
        sys.exit(f"reward: {error}")
    if not references:
        sys.exit(f"reward: no pairs of the task {options.task!r}")
    sources = list(references)
    random.Random(options.seed).shuffle(sources)  # noqa: S311 - repeatable on purpose
    sources = sources[: options.sources]
    rater = AnswerRater(options.task, Frequencies(references))
    try:
        faulty = _select_faulty(sources, references, rater, options)
        candidates = _propose_candidates(faulty, references, options)
    except (EvaluationError, RequestError) as error:
        sys.exit(f"reward: {error}")
    new_pairs = []
    for source, texts in zip(faulty, candidates, strict=True):
        best = rater.select_best(source, texts, references[source])
        if best and normal(best) not in held_out:
            new_pairs.append(Pair(options.task, source, best))
    pairs.write(options.out, new_pairs)
    log.info("%d answers, %d with a fault, %d pairs", len(sources), len(faulty), len(new_pairs))
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("model", help="a GGUF file, a recipe's name or a checkpoint's directory")
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--heldout", type=Path, nargs="*", default=[], help="pairs to measure with")
    parser.add_argument("--task", default="paraphrase", choices=(PARAPHRASE, FIX, EXPAND))
    parser.add_argument("--sources", type=int, default=20_000)
    parser.add_argument("--beams", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _read_references(options: argparse.Namespace, held_out: set[str]) -> dict[str, list[str]]:
    """Returns the targets of the task's pairs by source, without held-out sources."""
    references: defaultdict[str, list[str]] = defaultdict(list)
    for pair in pairs.read(options.pairs):
        if pair.task == options.task and normal(pair.source) not in held_out:
            references[pair.source].append(pair.target)
    return references


def _select_faulty(
    sources: list[str],
    references: dict[str, list[str]],
    rater: AnswerRater,
    options: argparse.Namespace,
) -> list[str]:
    """Returns the sources whose greedy answer has a fault."""
    greedy = Options(task=options.task, strategy="greedy", max_tokens=MAX_TOKENS)
    answers = _ask(sources, greedy, options)
    return [
        source
        for source, texts in zip(sources, answers, strict=True)
        if rater.is_faulty(source, texts[0], references[source])
    ]


def _propose_candidates(
    sources: list[str], references: dict[str, list[str]], options: argparse.Namespace
) -> list[list[str]]:
    """Returns the candidates for each source: its beams, or for `fix` its references."""
    if options.task == FIX:
        return [references[source] for source in sources]
    beams = Options(
        task=options.task,
        strategy="beam",
        n=options.beams,
        parameters={"num_beams": options.beams},
        max_tokens=MAX_TOKENS,
    )
    return _ask(sources, beams, options)


def _ask(queries: list[str], decoding: Options, options: argparse.Namespace) -> list[list[str]]:
    """Returns the model's answers to each query."""
    prefixes = {options.task: pairs.prefix(options.task)}
    requests = [Request(query, decoding) for query in queries]
    answers = answer_requests(options.model, requests, prefixes)
    return [answer.texts for answer in answers]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.exit(main())
