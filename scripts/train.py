"""Trains a T5 on pairs and text: `python scripts/train.py --pairs train.tsv --out DIR`.

Pairs are a TSV file with the columns task, source and target; the model reads `task: source`. Text
is one query a line. DIR gets state.pt (start the same command again to go on), history.jsonl and,
in the end, checkpoint/, which `scripts/convert.py` takes.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
from collections import defaultdict
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import T5ForConditionalGeneration

from t5train import cores, mixture, pairs, plot, shape, vectors, vocabulary
from t5train.averaging import holding
from t5train.batches import Batch, cut
from t5train.mixture import Example, Mixture
from t5train.schedule import Schedule
from t5train.trainer import HISTORY, Plan, Trainer
from t5train.vocabulary import Vocabulary

log = logging.getLogger("train")

OWN_TASKS = {"paraphrase", "fix", "expand"}
EARLY = "denoise=4,span=1,mend=2,paraphrase=2,expand=1"
LATE = "paraphrase=5,mend=2,fix=1,expand=1.5,denoise=0.5"
RATE, TUNING_RATE = 2e-2, 2e-3  # of a new model, and of one that was trained before


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    data = made.add_argument_group("data")
    data.add_argument("--pairs", type=Path, required=True, nargs="+")
    data.add_argument("--text", type=Path, nargs="*", default=[])
    data.add_argument("--valid", type=Path, help="pairs for early stopping")
    data.add_argument("--out", type=Path, required=True)
    data.add_argument(
        "--early",
        help=f"shares of tasks and noise until --turn; {EARLY}, or, with other tasks, without "
        "text or with --start, those of --late",
    )
    data.add_argument(
        "--late",
        help=f"shares from there on; {LATE}, or, with other tasks or without text, as much of each",
    )
    data.add_argument("--longest", type=int, default=64, help="tokens a side; others are left out")
    data.add_argument("--turn", type=float, default=0.3)
    data.add_argument("--swapped", type=float, default=0.3, help="pairs given other names, numbers")
    model = made.add_argument_group("model")
    model.add_argument("--start", type=Path, help="a T5 checkpoint to go on from, shape and all")
    model.add_argument("--vocabulary", type=int, default=8000, help="pieces of a new one")
    model.add_argument("--d-model", type=int, default=256)
    model.add_argument("--d-ff", type=int, default=1024)
    model.add_argument("--layers", type=int, default=4)
    model.add_argument("--decoder-layers", type=int, default=2)
    model.add_argument("--heads", type=int, default=4)
    model.add_argument("--gated", action="store_true")
    model.add_argument("--dropout", type=float, help="0, or what the checkpoint has")
    model.add_argument("--vectors", type=Path, help="word vectors (GloVe's format) for a new one")
    model.add_argument("--vectors-share", type=float, default=0.5)
    how = made.add_argument_group("training")
    how.add_argument("--minutes", type=float, default=math.inf)
    how.add_argument("--steps", type=float, default=math.inf)
    how.add_argument("--hold", type=float, default=0.0, help="share before the cosine begins")
    how.add_argument("--batch", type=int, default=96)
    how.add_argument("--rate", type=float, help=f"{RATE:g}; with --start {TUNING_RATE:g}")
    how.add_argument("--smoothing", type=float, default=0.0)
    how.add_argument(
        "--patience",
        type=int,
        default=8,
        help="validations without a better one, then it ends; "
        "0: never, and the last weights count, not the best",
    )
    how.add_argument("--validate-minutes", type=float, default=6.0)
    how.add_argument("--bf16", action="store_true", help="autocast; measure, it can be slower")
    how.add_argument("--threads", type=int, default=0, help="0: what other work leaves free")
    how.add_argument("--seed", type=int, default=0)
    how.add_argument("--pause-file", type=Path, help="training waits while this file is there")
    how.add_argument("--quiet", action="store_true", help="no progress bar")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Trains, or goes on training, and writes the checkpoint; 2 if something can't be used."""
    options = parser().parse_args(arguments)
    try:
        trainer, words, tasks = _prepared(options)
        trainer.resume()
    except (ValueError, OSError) as error:
        tqdm.write(f"train: {error}", file=sys.stderr)
        return 2
    out: Path = options.out
    trainer.run(quiet=options.quiet)
    with holding(trainer.model, trainer.weights):
        shape.save(
            trainer.model, words.path, out / "checkpoint", tasks=tasks, max_tokens=options.longest
        )
    plot.draw(out / HISTORY, out / "loss.png")
    return 0


def _prepared(options: argparse.Namespace) -> tuple[Trainer, Vocabulary, list[str]]:
    """Everything made and checked, so that no mistake comes to light after hours; and the tasks."""
    if math.isinf(options.minutes) and math.isinf(options.steps):
        raise ValueError("say when to stop: --minutes or --steps")
    options.out.mkdir(parents=True, exist_ok=True)
    cores.adapt(options.threads)
    torch.manual_seed(options.seed)
    vocabulary.seed(options.seed)
    examples = [pair for path in options.pairs for pair in pairs.read(path)]
    text = [line for path in options.text for line in pairs.read_text(path)]
    found = _tasks(examples)
    words = _vocabulary(options, examples, text)
    rng = random.Random(options.seed)  # noqa: S311 - repeatable on purpose
    shares = _shares(options, found)
    longest, swapped = options.longest, options.swapped
    drawn = Mixture(examples, text, words, rng, longest=longest, swapped=swapped)
    for flag, given in shares.items():
        try:
            drawn.check(given)
        except ValueError as error:
            raise ValueError(f"--{flag}: {error}") from error
    if drawn.left_out:
        log.info("%d pairs left out: over %d tokens", drawn.left_out, longest)
    plan = Plan(
        early=shares["early"],
        late=shares["late"],
        turn=options.turn,
        batch=options.batch,
        rate=options.rate or (TUNING_RATE if options.start else RATE),
        smoothing=options.smoothing,
        bf16=options.bf16,
        patience=options.patience,
        validate_minutes=options.validate_minutes,
        start=str(options.start.resolve()) if options.start else "",
        threads=options.threads,
        pause_file=options.pause_file,
        schedule=Schedule(minutes=options.minutes, steps=options.steps, hold=options.hold),
    )
    valid = _validation(options, words)
    trainer = Trainer(_model(options, words), drawn, valid, plan, options.out, rng)
    trained = mixture.tasks(shares["early"]) | mixture.tasks(shares["late"])
    in_order = dict.fromkeys([*found, mixture.MEND_TASK])
    return trainer, words, [task for task in in_order if task in trained]


def _validation(options: argparse.Namespace, words: Vocabulary) -> dict[str, list[Batch]]:
    """The pairs of --valid by task, but for those that are too long."""
    held: defaultdict[str, list[Example]] = defaultdict(list)
    for pair in pairs.read(options.valid) if options.valid else ():
        source = words.encode(pairs.prefix(pair.task) + pair.source)
        example = Example(source, words.encode(pair.target))
        if max(map(len, example)) <= options.longest:
            held[pair.task].append(example)
    return {task: cut(found, options.batch) for task, found in held.items()}


def _tasks(examples: list[pairs.Pair]) -> list[str]:
    """Those of the pairs, in the order of their first."""
    found = list(dict.fromkeys(pair.task for pair in examples))
    for task in filter(None, found):
        if not task.isidentifier():
            raise ValueError(f"the task {task!r} must be a plain word: a GGUF file names it")
        if task in mixture.FROM_TEXT:
            raise ValueError(f"the task {task!r} must have another name: this one is a noise's")
    return found


def _shares(options: argparse.Namespace, found: list[str]) -> dict[str, dict[str, float]]:
    """Those asked for; by default ours of our tasks, and else as much of each task."""
    ours = {*found} >= OWN_TASKS and options.text
    each = LATE if ours else ",".join(f"{task}=1" for task in found)
    late = options.late or each
    early = options.early or (EARLY if ours and not options.start else late)
    shares = {"early": mixture.parse(early), "late": mixture.parse(late)}
    for task in found:
        if not any(task in given for given in shares.values()):
            raise ValueError(
                f"pairs of {task!r} have no share: add {task}=1 to --late, or {task}=0"
            )
    return shares


def _model(options: argparse.Namespace, words: Vocabulary) -> T5ForConditionalGeneration:
    if options.start:
        model = shape.load(options.start, options.dropout)
    else:
        model = shape.build(_shape(options), len(words))
        if options.vectors:
            known = vectors.read(options.vectors)
            count = vectors.start(model.shared.weight, words, known, options.vectors_share)
            log.info("%d of %d pieces start from word vectors", count, len(words))
    log.info("%.2f M parameters, %d pieces", model.num_parameters() / 1e6, len(words))
    return model


def _shape(options: argparse.Namespace) -> shape.Shape:
    return shape.Shape(
        d_model=options.d_model,
        d_ff=options.d_ff,
        layers=options.layers,
        decoder_layers=options.decoder_layers,
        heads=options.heads,
        dropout=options.dropout or 0.0,
        gated=options.gated,
    )


def _vocabulary(
    options: argparse.Namespace, examples: list[pairs.Pair], text: list[str]
) -> Vocabulary:
    """The checkpoint's that is gone on from, else the one made before, else a new one."""
    path: Path = options.out / vocabulary.FILE
    if options.start:
        path = options.start / vocabulary.FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there: text is cut into pieces by it")
        return Vocabulary(path)
    if not path.is_file():
        targets = {pair.target for pair in examples}
        prefixes = {pairs.prefix(pair.task) + pair.source for pair in examples}
        vocabulary.train(sorted(targets | prefixes | set(text)), options.vocabulary, options.out)
    return Vocabulary(path)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    sys.exit(main())
