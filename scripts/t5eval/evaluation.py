"""Several models on sets of pairs and on test collections: from requests to figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice
from typing import Any

from t5eval import retrieval, semantics, systems, text_metrics
from t5eval.collection import Collection
from t5eval.pairs import Pair, draw
from t5eval.semantics import Embed
from t5eval.stop_words import english
from t5eval.systems import Answer, Request
from t5serve.reformulation.options import Options

Key = tuple[str, ...]
Batches = dict[Key, list[Request]]
Results = dict[str, Any]
"""What is written as JSON: numbers, texts, lists and mappings."""


@dataclass(frozen=True)
class Plan:
    """What every model is asked.

    Attributes:
        single: how one reformulation is decoded.
        several: how those are that retrieval fuses with the query; task as in single.
        pairs: by set and task.
        counts: words of the text that tells which are rare.
        examples: how many outputs of each set are listed.
        embed: None leaves out what needs embeddings.
    """

    single: Options
    several: Options
    pairs: Mapping[str, Mapping[str | None, Sequence[Pair]]]
    collections: Sequence[Collection]
    counts: Mapping[str, int]
    prefixes: Mapping[str, str] = field(default_factory=dict)
    examples: int = 30
    seed: int = 0
    embed: Embed | None = None


def evaluate(models: Sequence[str], plan: Plan) -> Results:
    """All figures of all models.

    Raises:
        EvaluationError: a model can't be used.
        RequestError: it can't do what is asked.
    """
    for model in models:
        systems.check(model)
    batches = requests(plan, several_models=len(models) > 1)
    every = [request for batch in batches.values() for request in batch]
    one_of_each = [batch[0] for batch in batches.values() if batch]
    for model in models:
        systems.answers(model, one_of_each, plan.prefixes)  # what fails does so before the hours
    answers: dict[str, dict[Key, list[Answer]]] = {}
    for name, model in zip(systems.names(models), models, strict=True):
        found = iter(systems.answers(model, every, plan.prefixes))
        answers[name] = {key: list(islice(found, len(batch))) for key, batch in batches.items()}
    return figures(plan, batches, answers)


def requests(plan: Plan, *, several_models: bool) -> Batches:
    """What to ask, by what it is for; greedy answers as well if models are to be compared."""
    batches: Batches = {}
    for name, tasks in plan.pairs.items():
        for task, pairs in tasks.items():
            options = replace(plan.single, task=task)
            greedy = Options(task=task, strategy="greedy", max_tokens=options.max_tokens)
            key = (name, task or "")
            batches["pairs", *key] = [Request(pair.source, options) for pair in pairs]
            if several_models and not _is_greedy(options):
                batches["greedy", *key] = [Request(pair.source, greedy) for pair in pairs]
    for collection in plan.collections:
        for kind, options in (("single", plan.single), ("several", plan.several)):
            batches[kind, collection.name] = [
                Request(query.text, options) for query in collection.queries
            ]
    return batches


def _is_greedy(options: Options) -> bool:
    """Whether the answer is the greedy one, which then need not be asked for again."""
    uses_only_a_seed = {*options.parameters} <= {"seed"}
    return options.strategy == "greedy" and not options.can_drop and uses_only_a_seed


def figures(
    plan: Plan, batches: Batches, answers: Mapping[str, Mapping[Key, list[Answer]]]
) -> Results:
    """What the answers are worth, by model and by what was asked."""
    return {
        "models": list(answers),
        "pairs": [
            _of_pairs(
                plan,
                name,
                task,
                {model: own["pairs", name, task or ""] for model, own in answers.items()},
            )
            for name, tasks in plan.pairs.items()
            for task in tasks
        ],
        "agreement": _agreement(batches, answers),
        "collections": [
            _of_collection(plan, collection, answers) for collection in plan.collections
        ],
    }


def _of_pairs(
    plan: Plan, name: str, task: str | None, answers: Mapping[str, Sequence[Answer]]
) -> Results:
    pairs = plan.pairs[name][task]
    sources, targets = [pair.source for pair in pairs], [pair.target for pair in pairs]
    stop_words = english()
    found: Results = {"set": name, "task": task, "pairs": len(pairs), "systems": {}}
    for model, own in answers.items():
        outputs = [answer.texts[0] for answer in own]
        overlap, found["signatures"] = text_metrics.overlap(sources, targets, outputs)
        row = overlap | text_metrics.shares(sources, targets, outputs, plan.counts, stop_words)
        row["fell_back"] = text_metrics.mean(answer.fell_back for answer in own)
        if plan.embed is not None:
            row |= semantics.figures(sources, outputs, stop_words, plan.embed)
        found["systems"][model] = row
    found["examples"] = [
        {
            "source": pairs[place].source,
            "target": pairs[place].target,
            "outputs": {model: own[place].texts[0] for model, own in answers.items()},
        }
        for place in draw(range(len(pairs)), plan.examples, plan.seed)
    ]
    return found


def _agreement(
    batches: Batches, answers: Mapping[str, Mapping[Key, list[Answer]]]
) -> list[Results]:
    """Of every two models, the share of pairs' sources that they answer alike, greedily."""
    sets = [key[1:] for key in batches if key[0] == "pairs"]
    if not sets:
        return []
    greedy = [key if (key := ("greedy", *one)) in batches else ("pairs", *one) for one in sets]
    texts = {
        model: [answer.texts[0] for key in greedy for answer in own[key]]
        for model, own in answers.items()
    }
    return [
        {"one": one, "other": other, "equal": text_metrics.agreement(texts[one], texts[other])}
        for one, other in combinations(answers, 2)
    ]


def _of_collection(
    plan: Plan, collection: Collection, answers: Mapping[str, Mapping[Key, list[Answer]]]
) -> Results:
    asked = {
        model: (own["single", collection.name], own["several", collection.name])
        for model, own in answers.items()
    }
    return {
        "name": collection.name,
        "documents": len(collection.documents),
        "queries": len(collection.queries),
        "fell_back": {
            model: text_metrics.mean(answer.fell_back for answer in several)
            for model, (_, several) in asked.items()
        },
        "rows": retrieval.figures(collection, asked, several=plan.several.n, seed=plan.seed),
    }
