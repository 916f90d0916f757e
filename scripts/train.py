"""Trains a T5 on pairs and text: `python scripts/train.py --pairs train.tsv --out DIR`.

Pairs are a TSV file with the columns task, source and target; the model reads `task: source`. Rows
are JSON lines of `scripts/compose.py`. Text is one query per line. DIR gets state.safetensors (run
the same command again to resume), history.jsonl and, in the end, checkpoint/, which
`scripts/convert.py` converts.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from extras import Extra

EXTRA = Extra("train")
with EXTRA:
    import torch
    from tqdm import tqdm
    from transformers import T5ForConditionalGeneration

    from t5train import (
        forms,
        lexicon,
        mixture,
        noise,
        pairs,
        plot,
        restore,
        searches,
        t5_model,
        threads,
        vocabulary,
        word_vectors,
    )
    from t5train.averaging import replaced_weights
    from t5train.batches import Batch, split
    from t5train.mixture import Example, Mixture
    from t5train.pairs import Pair
    from t5train.schedule import Schedule
    from t5train.searches import MARK, SEPARATOR
    from t5train.trainer import HISTORY, Plan, Trainer
    from t5train.vocabulary import Vocabulary

log = logging.getLogger("train")

INCLUDED_TASKS = {"paraphrase", "fix", "expand"}  # of the included model
EARLY = "denoise=4,span=1,mend=2,paraphrase=2,expand=1"
LATE = "paraphrase=5,mend=2,fix=1,expand=1.5,denoise=0.5"
COMMON_WORDS, MISTYPED_WORDS = 20_000, 60_000  # the most frequent: not swapped; mistyped
RATE, TUNING_RATE = 2e-2, 2e-3  # of a new model, and of a checkpoint


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    data = parser.add_argument_group("data")
    data.add_argument("--pairs", type=Path, nargs="*", default=[])
    data.add_argument("--rows", type=Path, nargs="*", default=[], help="JSON lines of compose.py")
    data.add_argument("--text", type=Path, nargs="*", default=[])
    data.add_argument("--valid", type=Path, nargs="*", default=[], help="pairs or rows to measure")
    data.add_argument("--typos", type=Path, help="words.csv of crate-ci/typos, for real typos")
    data.add_argument("--out", type=Path, required=True)
    data.add_argument(
        "--early",
        help=f"shares of tasks and noise until --turn; {EARLY}, or, with other tasks, without "
        "text or with --start, those of --late",
    )
    data.add_argument(
        "--late",
        help=f"shares after --turn; {LATE}, or, with other tasks or without text, equal shares",
    )
    data.add_argument("--longest", type=int, default=64, help="most tokens per side of a pair")
    data.add_argument("--turn", type=float, default=0.3)
    data.add_argument(
        "--swapped", type=float, default=0.3, help="share of pairs with swapped names"
    )
    data.add_argument("--lowercase", type=float, default=0.0, help="share of pairs, both sides")
    data.add_argument(
        "--sampled", type=float, default=0.0, help="share of pairs whose source is cut at random"
    )
    model = parser.add_argument_group("model")
    model.add_argument("--start", type=Path, help="a T5 checkpoint or GGUF file to fine-tune")
    model.add_argument("--vocabulary", type=int, default=8000, help="pieces of a new vocabulary")
    model.add_argument("--bytes", action="store_true", help="unknown characters as bytes")
    model.add_argument("--d-model", type=int, default=256)
    model.add_argument("--d-ff", type=int, default=1024)
    model.add_argument("--layers", type=int, default=4)
    model.add_argument("--decoder-layers", type=int, default=2)
    model.add_argument("--heads", type=int, default=4)
    model.add_argument("--gated", action="store_true")
    model.add_argument("--dropout", type=float, help="0, or the checkpoint's rate")
    model.add_argument("--vectors", type=Path, help="word vectors in GloVe's format")
    model.add_argument("--vectors-share", type=float, default=0.5)
    training = parser.add_argument_group("training")
    training.add_argument("--minutes", type=float, default=math.inf)
    training.add_argument(
        "--session-minutes", type=float, default=math.inf, help="stop then; start again to go on"
    )
    training.add_argument("--steps", type=float, default=math.inf)
    training.add_argument("--hold", type=float, default=0.0, help="share before the cosine begins")
    training.add_argument("--warmup", type=float, default=100, help="steps")
    training.add_argument("--batch", type=int, default=96)
    training.add_argument("--rate", type=float, help=f"{RATE:g}; with --start {TUNING_RATE:g}")
    training.add_argument("--smoothing", type=float, default=0.0)
    training.add_argument(
        "--patience",
        type=int,
        default=8,
        help="validations without improvement before the end; "
        "0: no early stopping, and the last weights are saved instead of the best",
    )
    training.add_argument("--validate-minutes", type=float, default=6.0)
    training.add_argument("--save-minutes", type=float, default=4.0)
    training.add_argument("--bf16", action="store_true", help="autocast; can be slower")
    training.add_argument("--threads", type=int, default=0, help="0: what other load leaves free")
    training.add_argument("--device", default="auto", help="auto: a GPU if torch sees one")
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--pause-file", type=Path, help="training waits while this file exists")
    training.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Trains or resumes, and writes the checkpoint; returns 2 if an option can't be used."""
    options = build_parser().parse_args(arguments)
    EXTRA.require()
    try:
        trainer, words, tasks = _prepare(options)
        trainer.resume()
    except (ValueError, OSError) as error:
        tqdm.write(f"train: {error}", file=sys.stderr)
        return 2
    trainer.run(quiet=options.quiet)
    _export(trainer, options, words, tasks)
    plot.draw(options.out / HISTORY, options.out / "loss.png")
    return 0


def _select_device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _export(
    trainer: Trainer, options: argparse.Namespace, words: Vocabulary, tasks: list[str]
) -> None:
    """Writes the checkpoint that the converter reads."""
    directory = options.out / "checkpoint"
    with replaced_weights(trainer.model, trainer.weights):
        t5_model.save(trainer.model, words.path, directory, tasks=tasks, max_tokens=options.longest)


def _prepare(options: argparse.Namespace) -> tuple[Trainer, Vocabulary, list[str]]:
    """Returns the trainer, the vocabulary and the trained tasks.

    Checks all options first, so that no mistake appears after hours of training.
    """
    if math.isinf(options.minutes) and math.isinf(options.steps):
        raise ValueError("the training has no end: give --minutes or --steps")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.start and options.start.suffix == restore.SUFFIX:
        options.start = restore.restore(options.start, options.out / "start")
    threads.adapt(options.threads)
    torch.manual_seed(options.seed)
    vocabulary.seed(options.seed)
    groups = _read_groups(options)
    examples = [pair for group in groups.values() for pair in group]
    text = [line for path in options.text for line in pairs.read_text(path)]
    tasks = _list_tasks(examples)
    words = _load_vocabulary(options, examples, text)
    rng = random.Random(options.seed)  # noqa: S311 - repeatable on purpose
    shares = _parse_shares(options, tasks, groups)
    max_tokens = options.longest
    training_mixture = Mixture(
        groups,
        text,
        words,
        rng,
        max_tokens=max_tokens,
        swap_share=options.swapped,
        variation=_variation(options),
    )
    for flag, phase_shares in shares.items():
        try:
            training_mixture.check(phase_shares)
        except ValueError as error:
            raise ValueError(f"--{flag}: {error}") from error
    if training_mixture.left_out:
        log.info("%d pairs left out: over %d tokens", training_mixture.left_out, max_tokens)
    plan = Plan(
        early=shares["early"],
        late=shares["late"],
        turn=options.turn,
        batch=options.batch,
        rate=options.rate or (TUNING_RATE if options.start else RATE),
        smoothing=options.smoothing,
        bf16=options.bf16,
        device=_select_device(options.device),
        patience=options.patience,
        validate_minutes=options.validate_minutes,
        save_minutes=options.save_minutes,
        start=str(options.start.resolve()) if options.start else "",
        threads=options.threads,
        seed=options.seed,
        pause_file=options.pause_file,
        session_minutes=options.session_minutes,
        schedule=Schedule(
            minutes=options.minutes,
            steps=options.steps,
            warmup=options.warmup,
            hold=options.hold,
        ),
    )
    valid = _load_validation(options, words)
    trained = mixture.trained_tasks(shares["early"]) | mixture.trained_tasks(shares["late"])
    ordered = dict.fromkeys([*tasks, mixture.MEND_TASK])
    trained_in_order = [task for task in ordered if task in trained]
    trainer = Trainer(
        _load_model(options, words),
        training_mixture,
        valid,
        plan,
        options.out,
        rng,
        export=lambda current: _export(current, options, words, trained_in_order),
    )
    return trainer, words, trained_in_order


def _read_groups(options: argparse.Namespace) -> dict[str, list[pairs.Pair]]:
    """Returns the pairs by what shares call them: a task, or of rows task/origin."""
    if not options.pairs and not options.rows:
        raise ValueError("nothing to learn from: give --pairs or --rows")
    groups = mixture.group_by_task(pair for path in options.pairs for pair in pairs.read(path))
    rows = (row for path in options.rows for row in searches.read(path))
    return {**groups, **mixture.group_rows(rows)}


def _variation(options: argparse.Namespace) -> mixture.Variation:
    typist: noise.Typist = noise.ANY_WORD
    common: frozenset[str] = frozenset()
    if options.typos:
        typist = forms.Misspellings(
            forms.read_misspellings(options.typos), lexicon.list_frequent_words(MISTYPED_WORDS)
        )
        common = frozenset(lexicon.list_frequent_words(COMMON_WORDS))
    return mixture.Variation(options.lowercase, options.sampled, typist, common)


def _read_validation(paths: list[Path]) -> list[pairs.Pair]:
    """Returns the pairs of files; of rows that are searches, those of each task."""
    read = []
    for path in paths:
        if path.suffix == ".jsonl":
            rows = searches.read(path)
            read += [Pair(row.task, row.source, SEPARATOR.join(row.targets)) for row in rows]
        else:
            read += pairs.read(path)
    return read


def _load_validation(options: argparse.Namespace, words: Vocabulary) -> dict[str, list[Batch]]:
    """Returns batches of the pairs of --valid by task, without pairs that are too long."""
    by_task: defaultdict[str, list[Example]] = defaultdict(list)
    for pair in _read_validation(options.valid):
        source = words.encode(pairs.prefix(pair.task) + pair.source)
        example = Example(source, words.encode(pair.target))
        if max(map(len, example)) <= options.longest:
            by_task[pair.task].append(example)
    return {task: split(task_examples, options.batch) for task, task_examples in by_task.items()}


def _list_tasks(examples: list[pairs.Pair]) -> list[str]:
    """Returns the tasks of pairs, in the order of their first pair."""
    tasks = list(dict.fromkeys(pair.task for pair in examples))
    for task in filter(None, tasks):
        if not task.isidentifier():
            raise ValueError(f"the task {task!r} must be a plain word: a GGUF file names it")
        if task in mixture.FROM_TEXT:
            raise ValueError(f"the task {task!r} must have another name: this name is of a noise")
    return tasks


def _parse_shares(
    options: argparse.Namespace, tasks: list[str], groups: Mapping[str, object]
) -> dict[str, dict[str, float]]:
    """Returns the shares of --early and --late.

    The defaults are those of the included model for its tasks, else equal shares of all groups.
    """
    is_included = {*tasks} >= INCLUDED_TASKS and options.text
    default = LATE if is_included else ",".join(f"{name}=1" for name in groups)
    if options.rows and not options.pairs:
        default = _select_shares(groups, has_text=bool(options.text))
    late = options.late or default
    early = options.early or (EARLY if is_included and not options.start else late)
    shares = {"early": mixture.parse_shares(early), "late": mixture.parse_shares(late)}
    for name in groups:
        if not any(name in phase_shares for phase_shares in shares.values()):
            raise ValueError(
                f"pairs of {name!r} have no share: add {name}=1 to --late, or {name}=0"
            )
    return shares


def _select_shares(groups: Mapping[str, object], *, has_text: bool) -> str:
    """Returns the shares of the included model for groups that are there; 1 for unknown ones."""
    known = mixture.parse_shares(mixture.ROW_SHARES)
    usable = {*groups, *(mixture.FROM_TEXT if has_text else ())}
    shares = {name: share for name, share in known.items() if name in usable}
    shares |= {name: 1.0 for name in groups if name not in known}
    return ",".join(f"{name}={share:g}" for name, share in shares.items())


def _load_model(options: argparse.Namespace, words: Vocabulary) -> T5ForConditionalGeneration:
    if options.start:
        model = t5_model.load(options.start, options.dropout)
    else:
        model = t5_model.build(_shape(options), len(words))
        if options.vectors:
            vectors = word_vectors.read(options.vectors)
            share = options.vectors_share
            count = word_vectors.initialise_embedding(model.shared.weight, words, vectors, share)
            log.info("%d of %d pieces start from word vectors", count, len(words))
    log.info("%.2f M parameters, %d pieces", model.num_parameters() / 1e6, len(words))
    return model


def _shape(options: argparse.Namespace) -> t5_model.Shape:
    return t5_model.Shape(
        d_model=options.d_model,
        d_ff=options.d_ff,
        layers=options.layers,
        decoder_layers=options.decoder_layers,
        heads=options.heads,
        dropout=options.dropout or 0.0,
        gated=options.gated,
    )


def _load_vocabulary(
    options: argparse.Namespace, examples: list[pairs.Pair], text: list[str]
) -> Vocabulary:
    """Returns the vocabulary of --start, else of --out, else a new one."""
    path: Path = options.out / vocabulary.FILE
    if options.start:
        path = options.start / vocabulary.FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there: the checkpoint has no vocabulary")
        return Vocabulary(path)
    if not path.is_file():
        targets = {pair.target for pair in examples}
        prefixes = {pairs.prefix(pair.task) + pair.source for pair in examples}
        texts = sorted(targets | prefixes | set(text))
        marks = [MARK] if options.rows else []
        vocabulary.train(
            texts, options.vocabulary, options.out, byte_fallback=options.bytes, marks=marks
        )
    return Vocabulary(path)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    sys.exit(main())
