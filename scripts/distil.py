"""Tunes a small language model on rows and lets it write more: `python scripts/distil.py tune`.

`tune` learns from files of `scripts/compose.py`; `generate` writes a row for each request that it
is given, unfiltered, with its log-probability. Both go on from what is there when they are started
again, also after kill -9.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from pathlib import Path

from extras import Extra

EXTRA = Extra("train")
with EXTRA:
    import torch

    from t5train import (
        asking,
        composer,
        mixture,
        pausing,
        screening,
        searches,
        shards,
        tuning,
        word_vectors,
        writing,
    )
    from t5train.shards import Shards
    from t5train.teacher import Teacher
    from t5train.vocabulary import Vocabulary
    from t5train.words import normal

log = logging.getLogger("distil")

# By task and origin: what is rare in the files is as important as what is endless.
SHARES = (
    "alexdong=6,alexdong-templates=7,comparisons=14,attributes=14,requests=26,chains=5,wordnet=3,"
    "nq-open=7,wellformedness=8,canard=4,trec-cast=1,disfl-qa=4,disfl-qa/disfluent=3,keywords=14,"
    "paraphrase=16,question=18"
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    root.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    root.add_argument("--device", default="auto", help="auto: a GPU if torch sees one")
    root.add_argument("--pause-file", type=Path, help="the work waits while this file is there")
    commands = root.add_subparsers(required=True)
    tune = commands.add_parser("tune", help="learn from rows")
    tune.add_argument("model", type=Path, help="a GGUF file or a checkpoint's directory")
    tune.add_argument("--rows", type=Path, nargs="+", required=True)
    tune.add_argument("--out", type=Path, required=True)
    tune.add_argument("--steps", type=int, default=1000)
    tune.add_argument("--batch", type=int, default=16)
    tune.add_argument("--rate", type=float, default=1e-4)
    tune.add_argument("--shares", default=SHARES, help="of the origins, and of other tasks")
    tune.set_defaults(run=run_tune)
    generate = commands.add_parser("generate", help="write rows for requests")
    generate.add_argument("model", type=Path, help="the file or directory that `tune` began with")
    generate.add_argument("--weights", type=Path, help="the directory that `tune` wrote")
    generate.add_argument("--requests", type=Path, required=True, help="of compose.py requests")
    generate.add_argument("--out", type=Path, required=True, help="a directory for the rows")
    generate.add_argument("--batch", type=int, default=64)
    generate.add_argument("--samples", type=int, default=1, help="a request; the first is greedy")
    generate.add_argument("--temperature", type=float, default=0.7, help="of the other samples")
    generate.set_defaults(run=run_generate)
    vectors = commands.add_parser("vectors", help="write a vector for each piece of a vocabulary")
    vectors.add_argument("model", type=Path, help="a GGUF file or a checkpoint's directory")
    vectors.add_argument("--vocabulary", type=Path, required=True, help="spiece.model")
    vectors.add_argument("--out", type=Path, required=True, help="a text file in GloVe's format")
    vectors.set_defaults(run=run_vectors)
    screen = commands.add_parser("screen", help="keep the rows that may teach")
    screen.add_argument("rows", type=Path, nargs="+", help="directories that `generate` wrote")
    screen.add_argument("--heldout", type=Path, nargs="*", default=[], help="of compose.py pairs")
    screen.add_argument("--out", type=Path, required=True, help="JSON lines of what is kept")
    screen.set_defaults(run=run_screen)
    return root


def main(arguments: list[str] | None = None) -> int:
    """Runs a subcommand; 2 if something can't be used."""
    options = parser().parse_args(arguments)
    EXTRA.require()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"distil: {error}\n")
        return 2
    return 0


def run_tune(options: argparse.Namespace) -> None:
    """Tunes to the last step, with a checkpoint every few minutes."""
    teacher = Teacher(options.model, options.device)
    plan = tuning.Plan(steps=options.steps, batch=options.batch, rate=options.rate)
    loop = tuning.Tuning(teacher, plan, options.out, pausing.pause(options.pause_file))
    rows = [row for path in options.rows for row in searches.read(path)]
    loop.run(rows, mixture.parse_shares(options.shares))


def run_generate(options: argparse.Namespace) -> None:
    """Writes a row for each request that has none yet."""
    requests = [
        request._replace(sample=sample)
        for sample in range(options.samples)
        for request in asking.read(options.requests)
    ]
    teacher = Teacher(options.model, options.device)
    if options.weights and teacher.load_weights(options.weights) is None:
        raise ValueError(f"{options.weights} has no weights: run `tune` first")
    teacher.for_writing()
    wait = pausing.pause(options.pause_file)
    shards = Shards(options.out)
    writing.write(teacher, requests, shards, options.batch, options.temperature, wait)


def run_vectors(options: argparse.Namespace) -> None:
    """Writes the embeddings of the pieces' tokens: what the large model knows of words."""
    teacher = Teacher(options.model, options.device)
    pieces = Vocabulary(options.vocabulary)
    count = word_vectors.write(options.out, word_vectors.of_teacher(teacher, pieces))
    log.info("%d of %d pieces have a vector", count, len(pieces))


def run_screen(options: argparse.Namespace) -> None:
    """Writes the rows without a fault, and logs how many have which."""
    held_out = {normal(row.source) for path in options.heldout for row in searches.read(path)}
    held_out |= composer.read_labelled()
    kept: dict[searches.Row, None] = {}
    faults: Counter[str] = Counter()
    for written in (row for path in options.rows for row in shards.read(path)):
        fault = screening.find_fault(written, held_out)
        faults[f"{written.task} {fault or 'kept'}"] += 1
        if fault is None:
            row = searches.Row(
                written.task, written.source, written.targets, f"{screening.ORIGIN}{written.origin}"
            )
            kept[row] = None
    searches.write(options.out, kept)
    for fault, count in sorted(faults.items()):
        log.info("%-30s %7d", fault, count)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    sys.exit(main())
