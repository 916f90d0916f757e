"""Evaluates models on sets of pairs and on test collections: from requests to figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice
from typing import Any

from t5eval import retrieval, semantics, systems, text_metrics
from t5eval.collection import Collection
from t5eval.messages import Answer, Request
from t5eval.pairs import Pair, draw
from t5eval.semantics import Embed
from t5eval.stop_words import load_stop_words
from t5gguf.tasks import Task
from t5serve.reformulation.options import Options

Key = tuple[str, ...]
"""A purpose ("pairs", "greedy", "single" or "several"), then a set and task or a collection."""
Batches = dict[Key, list[Request]]
Results = dict[str, Any]
"""The document that is written as JSON: numbers, texts, lists and mappings."""


@dataclass(frozen=True)
class Plan:
    """The data and the options of an evaluation, the same for every model.

    Attributes:
        single: Options for one reformulation.
        several: Options for the reformulations that retrieval fuses with the query. The task is
            that of `single`.
        pairs: Pairs by set and task.
        collections: Test collections to search.
        counts: Word counts that tell which words are rare.
        prefixes: Prefixes by task. They replace those in the models' files.
        tasks: Tasks whose defaults pairs are asked with, instead of `single`.
        examples: How many outputs of each set are listed.
        seed: The seed of samples and significance tests.
        stop_words: Words that searches leave out; None: a short list.
        embed: The sentence embedder; None leaves out the figures that need embeddings.
    """

    single: Options
    several: Options
    pairs: Mapping[str, Mapping[str | None, Sequence[Pair]]]
    collections: Sequence[Collection]
    counts: Mapping[str, int]
    prefixes: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    examples: int = 30
    seed: int = 0
    stop_words: frozenset[str] | None = None
    embed: Embed | None = None


def evaluate(models: Sequence[str], plan: Plan) -> Results:
    """Returns all figures of all models.

    Raises:
        EvaluationError: A model can't be used.
        RequestError: A model can't do what a request asks for.
    """
    for model in models:
        systems.check_model(model)
    batches = build_requests(plan, several_models=len(models) > 1)
    requests = [request for batch in batches.values() for request in batch]
    samples = [batch[0] for batch in batches.values() if batch]
    for model in models:  # a request that fails must fail before hours of decoding
        systems.answer_requests(model, samples, plan.prefixes)
    answers: dict[str, dict[Key, list[Answer]]] = {}
    for name, model in zip(systems.name_models(models), models, strict=True):
        results = iter(systems.answer_requests(model, requests, plan.prefixes))
        answers[name] = {key: list(islice(results, len(batch))) for key, batch in batches.items()}
    return compute_figures(plan, batches, answers)


def build_requests(plan: Plan, *, several_models: bool) -> Batches:
    """Returns the requests by purpose, with greedy ones if models are to be compared."""
    batches: Batches = {}
    for name, tasks in plan.pairs.items():
        for task, pairs in tasks.items():
            options = replace(plan.single, task=task)
            if task is not None and task in plan.tasks:
                options = Options.for_task(plan.tasks[task], task=task, n=1)
            greedy = Options(task=task, strategy="greedy", max_tokens=options.max_tokens)
            key = (name, task or "")
            batches["pairs", *key] = [Request(pair.source, options) for pair in pairs]
            if several_models and not _is_greedy(options):
                batches["greedy", *key] = [Request(pair.source, greedy) for pair in pairs]
    for collection in plan.collections:
        for purpose, options in (("single", plan.single), ("several", plan.several)):
            batches[purpose, collection.name] = [
                Request(query.text, options) for query in collection.queries
            ]
    return batches


def _is_greedy(options: Options) -> bool:
    """Returns whether the answer is the greedy one, which then is not requested again."""
    return (
        options.strategy == "greedy" and not options.can_drop and {*options.parameters} <= {"seed"}
    )


def compute_figures(
    plan: Plan, batches: Batches, answers: Mapping[str, Mapping[Key, list[Answer]]]
) -> Results:
    """Returns the figures of all answers, by set, collection and model."""
    return {
        "models": list(answers),
        "pairs": [
            _score_pairs(
                plan,
                name,
                task,
                {model: by_key["pairs", name, task or ""] for model, by_key in answers.items()},
            )
            for name, tasks in plan.pairs.items()
            for task in tasks
        ],
        "agreement": _compare_models(batches, answers),
        "collections": [
            _score_collection(plan, collection, answers) for collection in plan.collections
        ],
    }


def _score_pairs(
    plan: Plan, name: str, task: str | None, answers: Mapping[str, Sequence[Answer]]
) -> Results:
    pairs = plan.pairs[name][task]
    sources, targets = [pair.source for pair in pairs], [pair.target for pair in pairs]
    stop_words = load_stop_words()
    figures: Results = {"set": name, "task": task, "pairs": len(pairs), "systems": {}}
    for model, model_answers in answers.items():
        outputs = [answer.texts[0] for answer in model_answers]
        overlap, figures["signatures"] = text_metrics.score_overlap(sources, targets, outputs)
        shares = text_metrics.compute_shares(sources, targets, outputs, plan.counts, stop_words)
        row = overlap | shares
        row["fell_back"] = text_metrics.mean(answer.fell_back for answer in model_answers)
        if plan.embed is not None:
            row |= semantics.compute_figures(sources, outputs, stop_words, plan.embed)
        figures["systems"][model] = row
    figures["examples"] = [
        {
            "source": pairs[index].source,
            "target": pairs[index].target,
            "outputs": {model: by_index[index].texts[0] for model, by_index in answers.items()},
        }
        for index in draw(range(len(pairs)), plan.examples, plan.seed)
    ]
    return figures


def _compare_models(
    batches: Batches, answers: Mapping[str, Mapping[Key, list[Answer]]]
) -> list[Results]:
    """Returns, for every two models, the share of sources with equal greedy answers."""
    sets = [key[1:] for key in batches if key[0] == "pairs"]
    if not sets:
        return []
    keys = [key if (key := ("greedy", *name)) in batches else ("pairs", *name) for name in sets]
    texts = {
        model: [answer.texts[0] for key in keys for answer in by_key[key]]
        for model, by_key in answers.items()
    }
    return [
        {"one": left, "other": right, "equal": text_metrics.agreement(texts[left], texts[right])}
        for left, right in combinations(answers, 2)
    ]


def _score_collection(
    plan: Plan, collection: Collection, answers: Mapping[str, Mapping[Key, list[Answer]]]
) -> Results:
    by_model = {
        model: (by_key["single", collection.name], by_key["several", collection.name])
        for model, by_key in answers.items()
    }
    return {
        "name": collection.name,
        "documents": len(collection.documents),
        "queries": len(collection.queries),
        "fell_back": {
            model: text_metrics.mean(answer.fell_back for answer in several)
            for model, (_, several) in by_model.items()
        },
        "rows": retrieval.score_systems(
            collection,
            by_model,
            several=plan.several.n,
            seed=plan.seed,
            stop_words=plan.stop_words,
        ),
    }
