"""Writes docs/quality.md: all figures, and the sentences that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from t5eval.quality import dense
from t5eval.quality.cells import describe, format_rows, probability, share, signed
from t5eval.quality.combination import ALONE, BASELINES, COMBINATIONS, FEEDBACK, LONG_LIST, ORIGINAL
from t5eval.quality.comparison import METRICS
from t5eval.quality.labels import format_reading, format_scores
from t5eval.quality.measurement import Results
from t5eval.quality.sources import CLEAN
from t5eval.quality.verdict import Verdict, find_row, judge, rank_harmless
from t5eval.report import SIGNIFICANT, format_table

Row = Mapping[str, Any]
FUSED = "rankings fused, weights 1 : 1"
TEMPLATE = "template.md"
KEPT = {
    "content": "content words kept",
    "rarest": "rarest word kept",
    "numbers": "numbers kept",
    "negation": "negation kept",
}
GROUPS = {
    "takes a boost for each word (Elasticsearch, OpenSearch, Solr, Lucene)": "new words",
    "takes several weighted queries (`should` clauses with a boost)": "whole strings",
    "fuses BM25 rankings (reciprocal rank fusion)": "rankings fused",
    "takes the best score of several queries (`dis_max`)": "dis_max",
}


def format_page(results: Results, *, model: str, command: str, picture: str) -> str:
    """Returns the document."""
    collections = results["retrieval"]
    tasks = _tasks(collections)
    harmless = rank_harmless(collections, results["long stop list"], tasks)
    return _read_template().substitute(
        model=model,
        command=command,
        picture=picture,
        seed=results["seed"],
        first=tasks[0],
        summary=_summarise(results, tasks, harmless),
        advice=_advise(collections, results["dense"], harmless, tasks),
        collections="\n\n".join(_format_collection(item, tasks) for item in collections),
        long=_format_long(results["long stop list"], harmless),
        others=_format_others(collections),
        harm=_format_harm(collections, harmless, tasks),
        dense=dense.format_dense(results["dense"]),
        typos=_format_typos(results["typos"]),
        keeping="\n\n".join(map(_format_keeping, results["keeping"])),
        reading=format_reading(results["reading"]),
        scores=format_scores(results["reading"]),
    )


def _read_template() -> Template:
    """Reads the sentences that do not depend on figures."""
    return Template((Path(__file__).parent / TEMPLATE).read_text("utf-8"))


def _tasks(collections: Sequence[Row]) -> list[str]:
    """Returns the tasks that reformulations come from, without variants."""
    rows = collections[0]["rows"]
    return [row["task"] for row in rows if row["combination"] == ALONE]


def _summarise(results: Results, tasks: Sequence[str], harmless: Sequence[Verdict]) -> str:
    collections = results["retrieval"]
    lines = ["Every combination loses somewhere: search with the original query."]
    if harmless:
        best = harmless[0]
        other = judge(results["long stop list"], best.combination, best.task)
        advice = f"**{best.combination}**, with three reformulations by `{best.task}`"
        index = "an index with a long stop list, compared with the original query in that index"
        long = f"The same in {index}: {describe(other)}"
        how = "[how they are combined with the query](#searches)"
        lines = [f"Recommended: {advice} ({how}). {describe(best)} {long}"]
    for name, task, words in (
        (LONG_LIST, None, "The original query in an index with a long stop list, no model"),
        (FEEDBACK, None, "RM3, no model"),
        *((ALONE, task, f"One reformulation by `{task}` instead of the query") for task in tasks),
        (FUSED, tasks[0], f"Rankings fused with equal weights, `{tasks[0]}`"),
        (FUSED, f"{tasks[0]}, no guards", f"The same, `{tasks[0]}` without guards"),
    ):
        lines.append(f"{words}: {describe(judge(collections, name, task))}")
    lines += dense.summarise(results["dense"])[:1]
    lines += [
        _summarise_typos(results["typos"], row["system"]) for row in results["typos"][0]["rows"]
    ]
    return "\n".join(f"- {line}" for line in lines)


def _summarise_typos(typed: Sequence[Row], system: str) -> str:
    metric = METRICS[0]
    rows = [row for item in typed for row in item["rows"] if row["system"] == system]
    shares = [part for row in rows if (part := row[f"{metric} recovered"]) is not None]
    harmed = sum(
        row[f"{metric} clean p"] < SIGNIFICANT and row[f"{metric} clean"] < item["clean"][metric]
        for item, row in zip(typed, rows, strict=True)
    )
    return (
        f"Correction by *{system}* recovers {share(min(shares))} to {share(max(shares))} of the "
        f"{metric} lost to two typos per query, depending on the collection. "
        f"Correcting clean queries loses significantly on {harmed} of {len(rows)} collections."
    )


def _advise(
    collections: Sequence[Row],
    searched_by_vectors: Sequence[Row],
    harmless: Sequence[Verdict],
    tasks: Sequence[str],
) -> str:
    rows = []
    for engine, prefix in GROUPS.items():
        best = next((item for item in harmless if item.combination.startswith(prefix)), None)
        if best is None:
            verdict = max(
                (
                    judge(collections, name, task)
                    for name in COMBINATIONS
                    for task in tasks
                    if name.startswith(prefix)
                ),
                key=lambda item: -len(item.losses),
            )
            advice = (
                "none: each combination loses significantly, or more than 0.1 points, on at least "
                "one collection"
            )
            if verdict.losses:
                lost = verdict.losses[0][0]
                advice = f"none: even {verdict.combination} loses on {lost}"
            rows.append([engine, advice, "", ""])
            continue
        figures = [signed(best.difference[metric]) for metric in METRICS]
        rows.append([engine, f"{best.combination}, `{best.task}`", *figures])
    by_vectors = dense.find_advice(searched_by_vectors)
    advice, figures = "the original query", ["+0.00", "+0.00"]
    if by_vectors is not None:
        advice = f"{by_vectors.combination}, `{by_vectors.task}`"
        figures = [signed(by_vectors.difference[metric]) for metric in METRICS]
    rows.append(["searches vectors", advice, *figures])
    change, collection = _find_loss(collections, tasks[0])
    plain = "the original query"
    if change < 0:
        plain += f" (searching with one reformulation in its place changes {METRICS[0]} on "
        plain += f"{collection} by {signed(change)} points)"
    rows.append(["takes only one plain string", plain, "+0.00", "+0.00"])
    head = ["if the engine", "use", *(f"{metric}, mean difference" for metric in METRICS)]
    return format_table(head, rows, 2)


def _find_loss(collections: Sequence[Row], task: str) -> tuple[float, str]:
    """Returns the worst change by a reformulation instead of the query, and its collection."""
    metric = METRICS[0]
    losses: list[tuple[float, str]] = []
    for item in collections:
        instead, original = find_row(item, ALONE, task), find_row(item, ORIGINAL, None)
        losses.append((instead[metric] - original[metric], item["name"]))
    return min(losses)


def _format_collection(collection: Row, tasks: Sequence[str]) -> str:
    rows = [find_row(collection, name, None) for name in (*BASELINES, LONG_LIST)]
    rows += [find_row(collection, name, task) for task in tasks for name in (ALONE, *COMBINATIONS)]
    return (
        f"### {collection['name']}: {collection['documents']} documents, "
        f"{collection['queries']} queries{_units(collection)}\n\n" + format_rows(rows)
    )


def _units(collection: Row) -> str:
    units = collection["units"]
    return f" of {units} threads" if units < collection["queries"] else ""


def _format_long(collections: Sequence[Row], harmless: Sequence[Verdict]) -> str:
    """Returns the original, RM3 and the recommended combination with the other index."""
    shown: list[tuple[str, str | None]] = [(ORIGINAL, None), (FEEDBACK, None)]
    shown += [(item.combination, item.task) for item in harmless[:1]]
    rows = []
    for collection in collections:
        for name, task in shown:
            row = find_row(collection, name, task)
            cells = []
            for metric in METRICS:
                cells += [f"{row[metric]:.4f}", probability(row.get(f"{metric} p"))]
            rows.append([collection["name"], f"{name}, `{task}`" if task else name, *cells])
    head = ["collection", "searched with", METRICS[0], "p", METRICS[1], "p"]
    return format_table(head, rows, 2)


def _format_others(collections: Sequence[Row]) -> str:
    variants = list(dict.fromkeys(row["task"] for row in collections[0]["rows"] if row["task"]))
    rows = []
    for variant in variants[1:]:
        for name in COMBINATIONS:
            verdict = judge(collections, name, variant)
            cells = [signed(verdict.difference[metric]) for metric in METRICS]
            losses = _list(verdict.losses)
            rows.append([f"`{variant}`", name, losses, _list(verdict.gains), *cells])
    head = ["reformulations", "searched with", "significant losses", "significant gains", *METRICS]
    return format_table(head, rows, 4)


def _list(outcomes: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({metric})" for name, metric in outcomes)


def _format_harm(
    collections: Sequence[Row], harmless: Sequence[Verdict], tasks: Sequence[str]
) -> str:
    shown = [(item.combination, item.task) for item in harmless[:1]] + [
        (FUSED, tasks[0]),
        (ALONE, tasks[0]),
    ]
    rows = []
    for name, task in shown:
        for collection in collections:
            row = find_row(collection, name, task)
            cells = [share(row["changed"]), share(row["changed first ten"])]
            cells += [signed(row[f"{metric} worst decile"]) for metric in METRICS]
            rows.append([f"{name}, `{task}`", collection["name"], *cells])
    head = ["searched with", "collection", "queries changed", "first ten changed"]
    head += [f"{metric}, worst tenth" for metric in METRICS]
    return format_table(head, rows, 2)


def _format_typos(collections: Sequence[Row]) -> str:
    head = ["collection", "corrected by", "clean", "typed", "corrected", "recovered"]
    head += ["clean, corrected", "p", "clean queries changed"]
    rows = []
    metric = METRICS[0]
    for item in collections:
        for row in item["rows"]:
            values = (item["clean"][metric], item["typed"][metric], row[metric])
            cells = [f"{value:.4f}" for value in values]
            cells += [share(row[f"{metric} recovered"]), f"{row[f'{metric} clean']:.4f}"]
            cells += [probability(row[f"{metric} clean p"]), share(row["clean changed"])]
            rows.append([item["name"], row["system"], *cells])
    return format_table(head, rows, 2)


def _format_keeping(task: Row) -> str:
    head = ["source", "guards", "queries", "changed", *KEPT.values(), "invented"]
    rows = [
        [source, "the recipe's" if variant == "guards" else "none", *_cells(row)]
        for source, variants in {**task["sources"], "**all**": task["all"]}.items()
        for variant, row in variants.items()
    ]
    unchanged = task["all"]["guards"]["unchanged"]
    reasons = "; ".join(f"`{name}` {share(part)}" for name, part in unchanged.items())
    parts = [
        f"### `{task['task']}`",
        format_table(head, rows, 2),
        (
            "With the recipe's guards, some queries were left unchanged. As shares of all queries, "
            f"by [reason](api.md#results): {reasons}. In {task['terms']} more requests, the field "
            f"`terms` asked for one word of the query; {share(task['terms kept'])} of the answers "
            "contain it as the query has it."
        ),
    ]
    if task["clean"]:
        guarded, several = task["clean"]["guards"], task["clean"]["several"]
        parts.append(
            f"Three sources have few typos: {', '.join(CLEAN)}. Of their {guarded['queries']} "
            f"queries, {share(guarded['unchanged'])} came back unchanged with n = 1. With n = 4, "
            f"the first answer was unchanged for {share(several['unchanged'])}. A few of these "
            "queries have a typo; its correction counts as a change here."
        )
    return "\n\n".join(parts)


def _cells(row: Row) -> list[str]:
    values = [share(row["changed"]), *(share(row[name]) for name in KEPT)]
    return [str(row["queries"]), *values, share(row["invented"])]
