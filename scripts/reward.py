"""Makes pairs of a model's own best answers: `python scripts/reward.py CHECKPOINT --pairs TSV ..`.

Samples answers to the sources of one task's pairs, rates them against the targets, and writes the
best as new pairs, which `scripts/train.py --start CHECKPOINT` learns from.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections import defaultdict
from pathlib import Path

import torch
from tqdm import tqdm

from t5train import cores, pairs, reward, shape
from t5train.generation import answer
from t5train.pairs import Pair
from t5train.vocabulary import FILE, Vocabulary

log = logging.getLogger("reward")

CHUNK = 512  # sources between two writes


def main(arguments: list[str] | None = None) -> int:
    """Samples, rates, writes; says how many sources had an answer worth learning."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", default="paraphrase")
    parser.add_argument("--sources", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--best", type=int, default=1, help="answers kept for a source")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    cores.adapt(options.threads)
    torch.manual_seed(options.seed)

    references: defaultdict[str, list[str]] = defaultdict(list)
    for pair in pairs.read(options.pairs):
        if pair.task == options.task:
            references[pair.source].append(pair.target)
    sources = list(references)
    random.Random(options.seed).shuffle(sources)  # noqa: S311 - repeatable on purpose
    sources = sources[: options.sources]
    words = Vocabulary(options.checkpoint / FILE)
    model = shape.load(options.checkpoint, dropout=0.0)
    made: list[Pair] = []
    for start in tqdm(range(0, len(sources), CHUNK), disable=None):
        chunk = sources[start : start + CHUNK]
        texts = [pairs.prefix(options.task) + source for source in chunk]
        answers = answer(
            model, words, texts, samples=options.samples, temperature=options.temperature
        )
        for source, candidates in zip(chunk, answers, strict=True):
            chosen = reward.best(source, candidates, references[source], options.best)
            made += [Pair(options.task, source, text) for text in chosen]
        pairs.write(options.out, made)
    log.info("%d pairs of %d sources", len(made), len(sources))
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.exit(main())
