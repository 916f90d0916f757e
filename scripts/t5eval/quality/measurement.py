"""Measures answers: what they do to searches, to typed queries, and to the words of queries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from tqdm import tqdm

from t5eval.collection import Collection
from t5eval.messages import Answer
from t5eval.quality import dense, keeping, labels, typos
from t5eval.quality.answers import (
    ANY_SCORE_KEY,
    SEVERAL_KEY,
    SINGLE_KEY,
    STEP,
    UNGUARDED_KEY,
    Answers,
    Plan,
)
from t5eval.quality.combination import (
    ALONE,
    BASELINES,
    COMBINATIONS,
    LONG_LIST,
    search_first,
    search_original,
)
from t5eval.quality.comparison import METRICS, Comparison, Row
from t5eval.quality.keeping import Judge
from t5eval.quality.sources import CLEAN
from t5eval.quality.speller import Speller, read_dictionary
from t5eval.retrieval import Figures, Index, find_units, score_rankings
from t5eval.semantics import Embed
from t5eval.significance import randomisation_p_value
from t5eval.stop_words import load_stop_words
from t5eval.text_metrics import mean
from t5serve.reformulation.lexicon import Lexicon
from t5serve.reformulation.speller import Speller as OwnSpeller
from t5serve.reformulation.text import fold

VARIANTS = ("guards", "no guards")
Results = dict[str, Any]


def measure(plan: Plan, answers: Answers, embed: Embed) -> Results:
    """Returns all figures of all answers."""
    indices = {item.name: Index(item.documents) for item in plan.collections}
    long = {item.name: Index(item.documents, load_stop_words()) for item in plan.collections}
    return {
        "seed": plan.seed,
        "retrieval": [
            _measure_retrieval(plan, item, indices[item.name], answers, long[item.name])
            for item in tqdm(plan.collections, desc="searches", disable=None)
        ],
        "long stop list": [
            _measure_retrieval(plan, item, long[item.name], answers)
            for item in tqdm(plan.collections, desc="long stop list", disable=None)
        ],
        "dense": [
            dense.measure_collection(plan, item, answers, embed)
            for item in plan.collections
            if len(item.documents) <= dense.MOST_DOCUMENTS
        ],
        "typos": [
            _measure_typos(plan, item, indices[item.name], answers)
            for item in tqdm(plan.collections, desc="typed searches", disable=None)
        ],
        "keeping": _measure_keeping(plan, answers),
        "reading": _measure_reading(plan, answers),
    }


def _measure_retrieval(
    plan: Plan,
    collection: Collection,
    index: Index,
    answers: Answers,
    other: Index | None = None,
) -> Results:
    """Returns the rows of one collection.

    With another index, the original is also searched there, and answers without guards here.
    """
    queries = collection.queries
    comparison = Comparison(queries, plan.seed)
    nothing = [Answer([query.text]) for query in queries]
    for name, combine in BASELINES.items():
        comparison.add(name, None, partial(combine, index), nothing)
    if other is not None:
        comparison.add(LONG_LIST, None, partial(search_original, other), nothing)
    for task in plan.rewording:
        single, several = (
            answers["retrieval", collection.name, task, variant]
            for variant in (SINGLE_KEY, SEVERAL_KEY)
        )
        comparison.add(ALONE, task, partial(search_first, index), single)
        variants = {task: several}
        if task == plan.rewording[0] and other is not None:
            key = ("retrieval", collection.name, task, UNGUARDED_KEY)
            variants[f"{task}, no guards"] = answers[key]
        for variant, texts in variants.items():
            for name, combine in COMBINATIONS.items():
                comparison.add(name, variant, partial(combine, index), texts)
    return {
        "name": collection.name,
        "documents": len(collection.documents),
        "queries": len(queries),
        "units": len(set(find_units(queries))),
        "rows": comparison.rows,
    }


def _measure_typos(plan: Plan, collection: Collection, index: Index, answers: Answers) -> Results:
    clean = [query.text for query in collection.queries]
    typed = typos.add_typos(clean, plan.seed)
    units = find_units(collection.queries)

    def score(texts: Sequence[str]) -> Figures:
        queries = [*collection.queries] * (len(texts) // len(clean))
        pairs = zip(texts, queries, strict=True)
        return score_rankings(queries, [index.rank(text, query.excluded) for text, query in pairs])

    before, broken = score(clean), score(typed)
    counts = typos.count_words(collection.documents)
    spellers = {
        "speller, English dictionary": Speller.of_english(),
        "speller, the collection's words": Speller(counts),
    }
    corrected = {
        name: ([*map(speller.correct, clean)], [*map(speller.correct, typed)])
        for name, speller in spellers.items()
    }
    own = OwnSpeller.of(Lexicon(counts))
    corrected["the service's speller with the collection's words, no model"] = (
        [*map(own.correct, clean)],
        [*map(own.correct, typed)],
    )
    for task in plan.correcting:
        for variant, suffix in (("alone", ""), ("lexicon", ", the collection's lexicon")):
            states = (
                answers["typos", collection.name, task, state, variant]
                for state in ("clean", "typed")
            )
            clean_texts, typed_texts = ([item.texts[0] for item in state] for state in states)
            corrected[f"{task}{suffix}"] = (clean_texts, typed_texts)
    rows = []
    for name, (clean_texts, typed_texts) in corrected.items():
        of_clean, of_typed = score(clean_texts), score(typed_texts)
        row: Row = {"system": name}
        for metric in METRICS:
            means = [float(np.mean(part[metric])) for part in (before, broken, of_typed, of_clean)]
            row[metric], row[f"{metric} clean"] = means[2], means[3]
            row[f"{metric} recovered"] = typos.recovered(*means[:3])
            row[f"{metric} clean p"] = randomisation_p_value(
                of_clean[metric], before[metric], seed=plan.seed, units=units
            )
        row["clean changed"] = mean(
            fold(text) != fold(query) for text, query in zip(clean_texts, clean, strict=True)
        )
        rows.append(row)
    return {
        "name": collection.name,
        "clean": {metric: float(np.mean(before[metric])) for metric in METRICS},
        "typed": {metric: float(np.mean(broken[metric])) for metric in METRICS},
        "rows": rows,
    }


def _measure_reading(plan: Plan, answers: Answers) -> Results:
    read = labels.read_labels()
    equal, kappa = labels.agreement(read.values())
    return {
        "domains": {name: len(queries) for name, queries in plan.domains.items()},
        "labelled": len(read),
        "agreement": equal,
        "kappa": kappa,
        "all labelled": labels.count_harmful(read),
        "tasks": [
            labels.judge_task(task, plan.domain_queries, answers["reading", task], read)
            for task in plan.tasks
        ],
        "scores": [
            labels.judge_scores(
                plan.tasks[task].min_score,
                plan.domain_queries,
                answers["reading", task, ANY_SCORE_KEY],
                {key[1:]: pair for key, pair in read.items() if key[0] == task},
            )
            | {"task": task}
            for task in plan.tasks
        ],
    }


def _measure_keeping(plan: Plan, answers: Answers) -> list[Results]:
    texts = chain(
        chain.from_iterable(item.documents for item in plan.collections),
        chain.from_iterable(plan.queries.values()),
    )
    judge = Judge(read_dictionary(), frozenset(typos.count_words(texts)))
    return [_measure_task(plan, task, answers, judge) for task in plan.tasks]


def _judge(plan: Plan, queries: Sequence[str], answers: Sequence[Answer], judge: Judge) -> Row:
    meant = [plan.meanings.get(query, query) for query in queries]
    return keeping.judge_answers(queries, answers, judge, meant)


def _measure_task(plan: Plan, task: str, answers: Answers, judge: Judge) -> Results:
    sources: dict[str, Row] = {source: {} for source in plan.queries}
    totals: Row = {}
    for variant in VARIANTS:
        given = {source: answers["keeping", source, task, variant] for source in plan.queries}
        for source, queries in plan.queries.items():
            sources[source][variant] = _judge(plan, queries, given[source], judge)
        all_given = [*chain(*given.values())]
        totals[variant] = _judge(plan, [*chain(*plan.queries.values())], all_given, judge)
    some = [queries[::STEP] for queries in plan.queries.values()]
    terms = [*chain.from_iterable(keeping.draw_terms(queries, plan.seed) for queries in some)]
    with_terms = [*chain(*(answers["keeping", source, task, "terms"] for source in sources))]
    return {
        "task": task,
        "sources": sources,
        "all": totals,
        "terms": len(terms),
        "terms kept": keeping.terms_kept(terms, with_terms),
        "clean": _measure_clean(plan, task, answers) if plan.tasks[task].corrects else None,
    }


def _measure_clean(plan: Plan, task: str, answers: Answers) -> Results:
    """Returns how often a clean query comes first unchanged, and the changes that were made."""
    figures: Results = {}
    for variant in ("guards", "several"):
        pairs = [
            (query, answer.texts[0])
            for source in CLEAN
            for query, answer in zip(
                plan.queries[source], answers["keeping", source, task, variant], strict=True
            )
        ]
        changes = [pair for pair in pairs if fold(pair[0]) != fold(pair[1])]
        figures[variant] = {
            "queries": len(pairs),
            "unchanged": 1 - len(changes) / len(pairs),
            "changes": changes,
        }
    return figures
