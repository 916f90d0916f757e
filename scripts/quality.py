"""Measures what a model's answers are worth to a search; writes docs/quality.md and its plot.

A second document, quality-lost.md, lists the queries that guards left alone.

`python scripts/quality.py MODEL --data DIRECTORY` takes the name of a recipe, and the directory
with the test collections and queries. Needs the extra `evaluate`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from t5eval import collection
from t5eval.collection import Collection
from t5eval.errors import EvaluationError
from t5eval.pairs import draw
from t5eval.quality import labels, losses, page, plot, sources
from t5eval.quality.answers import Answers, Plan, ask_service, plan_batches
from t5eval.quality.measurement import Results, measure
from t5eval.quality.verdict import rank_harmless
from t5eval.semantics import load_embedder
from t5serve.errors import StartupError
from t5serve.settings import Settings

COLLECTIONS = ("vaswani", "cranfield", "cisi", "stackfaq")


def main() -> int:
    """Writes the document; returns 1 if something can't be used."""
    options = _build_parser().parse_args()
    try:
        plan = _build_plan(options)
        answers = Answers.read(options.answers)
        answers.complete([*plan_batches(plan)], ask_service(options.model))
        results = measure(plan, answers, load_embedder())
        _write(results, plan, options)
        lost = losses.find_losses(options.model, plan, answers)
        _write_losses(lost, options)
    except (EvaluationError, StartupError, OSError) as error:
        tqdm.write(f"quality: {error}", file=sys.stderr)
        return 1
    return 0


def _build_plan(options: argparse.Namespace) -> Plan:
    _, recipe = Settings(model=options.model).find_model()
    if recipe is None:
        raise EvaluationError(f"{options.model} is no recipe, whose defaults are measured")
    retrieval = options.data / "retrieval"
    collections = [collection.read(retrieval / name) for name in COLLECTIONS]
    quora = collection.read_questions([options.data / "quora" / "valid.tsv"])
    return Plan(
        tasks=recipe.tasks,
        collections=[
            _sample_queries(item, options.queries, options.seed)
            for item in (*collections, replace(quora, name="quora"))
        ],
        queries=sources.read_queries(options.data, options.queries_per_source, options.seed),
        domains=labels.read_domains(),
        seed=options.seed,
        meanings=sources.read_meanings(options.data),
    )


def _write(results: Results, plan: Plan, options: argparse.Namespace) -> None:
    if options.json is not None:
        body = json.dumps(results, indent=1, ensure_ascii=False)
        options.json.write_text(body + "\n", encoding="utf-8")
    picture = options.out.parent / "images" / f"{options.out.stem}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    harmless = rank_harmless(results["retrieval"], results["long stop list"], plan.rewording)
    task = harmless[0].task if harmless else None
    plot.save(results, task or plan.rewording[0], picture)
    document = page.format_page(
        results,
        model=options.model,
        command=_command(options),
        picture=picture.relative_to(options.out.parent).as_posix(),
    )
    options.out.write_text(document, encoding="utf-8")


def _write_losses(lost: Sequence[losses.Loss], options: argparse.Namespace) -> None:
    path = options.out.with_name(f"{options.out.stem}-lost.md")
    text = losses.format_losses(
        lost, model=options.model, page=options.out.name, command=_command(options)
    )
    path.write_text(text, encoding="utf-8")


def _command(options: argparse.Namespace) -> str:
    """Returns the command that repeats the run; its directory of data is the reader's."""
    return (
        f".venv/bin/python scripts/quality.py {options.model} --data DIRECTORY "
        f"--queries {options.queries} --queries-per-source {options.queries_per_source} "
        f"--seed {options.seed}"
    )


def _sample_queries(full: Collection, limit: int, seed: int) -> Collection:
    return replace(full, queries=draw(full.queries, limit, seed))


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", help="name of a recipe")
    parser.add_argument("--data", type=Path, required=True, help="directory of the public data")
    parser.add_argument("--answers", type=Path, help="JSON that keeps answers between runs")
    parser.add_argument("--out", type=Path, default=Path("docs/quality.md"))
    parser.add_argument("--json", type=Path, help="file for the figures and the corrections made")
    parser.add_argument("--queries", type=int, default=1000, help="most queries per collection")
    parser.add_argument("--queries-per-source", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
