"""Queries of several domains, read from public files as they are distributed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from t5eval import collection, stackfaq
from t5eval.errors import EvaluationError
from t5eval.pairs import draw
from t5serve.reformulation.text import clean, plain_words

CLEAN = ("MS MARCO", "Natural Questions", "TREC CAsT")
"""Sources of queries without faults, which a correction must leave alone."""


def read_queries(directory: Path, limit: int, seed: int) -> dict[str, list[str]]:
    """Returns at most `limit` random queries of each source.

    Raises:
        EvaluationError: A file is missing or malformed.
    """
    queries = {}
    for name, (path, read) in SOURCES.items():
        try:
            texts = [clean(text) for text in read(directory / path)]
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise EvaluationError(f"{directory / path} can't be read: {error!r}") from error
        queries[name] = draw([*dict.fromkeys(filter(plain_words, texts))], limit, seed)
    return queries


def read_meanings(directory: Path) -> dict[str, str]:
    """Returns what each query of Disfl-QA asks for after it has corrected itself.

    Raises:
        EvaluationError: The file is missing or malformed.
    """
    path = directory / SOURCES["Disfl-QA"][0]
    try:
        items = json.loads(path.read_text("utf-8")).values()
        return {clean(item["disfluent"]): clean(item["original"]) for item in items}
    except (OSError, ValueError, KeyError) as error:
        raise EvaluationError(f"{path} can't be read: {error!r}") from error


def _read_column(column: int) -> Callable[[Path], Iterable[str]]:
    def read(path: Path) -> Iterable[str]:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        return [row[column] for row in rows]

    return read


def _read_mqr(path: Path) -> Iterable[str]:
    return list(_read_column(-3)(path))[1:]  # ill formed, well formed, category; after a header


def _read_lines(field: str) -> Callable[[Path], Iterable[str]]:
    def read(path: Path) -> Iterable[str]:
        return [json.loads(line)[field] for line in path.read_text("utf-8").splitlines()]

    return read


def _read_disfl_qa(path: Path) -> Iterable[str]:
    return [item["disfluent"] for item in json.loads(path.read_text("utf-8")).values()]


def _read_threads(path: Path) -> Iterable[str]:
    return [text for thread in stackfaq.read(path) for text in thread.wordings]


def _read_cranfield(path: Path) -> Iterable[str]:
    return [query.text for query in collection.read(path).queries]


SOURCES: dict[str, tuple[str, Callable[[Path], Iterable[str]]]] = {
    "Quora": ("quora/test.tsv", _read_column(0)),
    "MS MARCO": ("typos/queries.dev.small.tsv", _read_column(1)),
    "Natural Questions": ("nq-open/NQ-open.dev.jsonl", _read_lines("question")),
    "TREC CAsT": (
        "trec-cast/2019_evaluation_topics_annotated_resolved_v1.0.tsv",
        _read_column(1),
    ),
    "alexdong": ("alexdong/full.jsonl", _read_lines("query")),
    "MQR": ("mqr/dev.tsv", _read_mqr),
    "Disfl-QA": ("disfl-qa/dev.json", _read_disfl_qa),
    "StackFAQ": (f"retrieval/stackfaq/{stackfaq.FILE}", _read_threads),
    "Cranfield": ("retrieval/cranfield", _read_cranfield),
}
