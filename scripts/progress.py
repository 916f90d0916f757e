"""Shows what a model in training can do: `python scripts/progress.py RUN/checkpoint`.

Answers requests greedily and without guards, in a minute or two on one core: the challenge's
examples and other requests, printed, and held-out rows, counted. What may be released is decided by
`scripts/quality.py` and by people who read, not by this.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from extras import Extra

EXTRA = Extra("train")
with EXTRA:
    import torch
    from transformers import T5ForConditionalGeneration

    from t5train import pairs, progress, searches, t5_model, vocabulary
    from t5train.batches import pad
    from t5train.vocabulary import PAD, Vocabulary

log = logging.getLogger("progress")

EXAMPLES = Path(__file__).parent / "t5train" / "examples.txt"
BATCH = 64


def main(arguments: list[str] | None = None) -> int:
    """Prints examples with their answers, and a table; 2 if something can't be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("checkpoint", type=Path, help="the directory that train.py writes")
    parser.add_argument("--rows", type=Path, nargs="*", default=[], help="held-out rows to count")
    parser.add_argument("--count", type=int, default=1000, help="rows at most")
    parser.add_argument("--examples", type=Path, default=EXAMPLES, help="requests, one a line")
    parser.add_argument("--task", default="search", help="of the examples")
    parser.add_argument("--show", type=int, default=0, help="rows to print with their answers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    EXTRA.require()
    torch.set_num_threads(options.threads)
    try:
        model = t5_model.load(options.checkpoint).eval()
        words = Vocabulary(options.checkpoint / vocabulary.FILE)
        examples = pairs.read_text(options.examples)
        rows = [row for path in options.rows for row in searches.read(path)]
    except (ValueError, OSError) as error:
        sys.stderr.write(f"progress: {error}\n")
        return 2
    rng = random.Random(options.seed)  # noqa: S311 - repeatable on purpose
    rows = rng.sample(rows, min(options.count, len(rows)))
    inputs = [pairs.prefix(options.task) + text for text in examples]
    for text, answer in zip(examples, write_answers(model, words, inputs), strict=True):
        log.info("%s\n    %s", text, answer)
    inputs = [pairs.prefix(row.task) + row.source for row in rows]
    answers = write_answers(model, words, inputs)
    for row, answer in list(zip(rows, answers, strict=True))[: options.show]:
        log.info("%s %s: %s\n    %s", row.task, row.origin, row.source, answer)
    for line in progress.table(progress.summarise(rows, map(progress.split, answers))):
        log.info("%s", line)
    return 0


def write_answers(
    model: T5ForConditionalGeneration, words: Vocabulary, inputs: Sequence[str]
) -> list[str]:
    """Returns the greedy answers in the inputs' order; inputs of like length are one batch."""
    encoded = [words.encode(text) for text in inputs]
    order = sorted(range(len(inputs)), key=lambda index: len(encoded[index]))
    answers = [""] * len(inputs)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        ids = pad([encoded[index] for index in batch])
        with torch.inference_mode():
            generated = model.generate(
                input_ids=ids, attention_mask=(ids != PAD).long(), max_new_tokens=64, num_beams=1
            )
        for index, row in zip(batch, generated.tolist(), strict=True):
            answers[index] = words.decode(row[1:])
    return answers


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.exit(main())
