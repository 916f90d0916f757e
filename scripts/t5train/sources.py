"""Reads the public sets as texts or pairs, unfiltered."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TOPIC = re.compile(r"<top(?:ic)?\b[^>]*>(.*?)</top(?:ic)?>", re.DOTALL)
NUMBER = re.compile(r'<num>\D*(\d+)|number="(\d+)"')
TITLE = re.compile(r"<(?:title|query)>\s*(?:Topic:)?(.*?)(?=<)", re.DOTALL)
DESCRIPTION = re.compile(
    r"<(?:desc|question|description)>\s*(?:Description:)?(.*?)(?=<)", re.DOTALL
)


def read_quora(path: Path) -> Iterator[tuple[str, str]]:
    """Yields duplicate questions. A question with quotation marks is quoted as in CSV."""
    for line in path.read_text(encoding="utf-8").splitlines():
        left, right, *_ = [*next(csv.reader([line], delimiter="\t")), "", ""]
        if left.strip() and right.strip():
            yield left.strip(), right.strip()


def read_alexdong(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Yields questions that need the same searches, and the searches."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        groups[row["subqueries"]].append(" ".join(row["query"].split()))
    for joined, questions in groups.items():
        yield questions, [" ".join(query.split()) for query in joined.split("|") if query.strip()]


def read_typos(directory: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields a clean query and its variants with one typo."""
    clean = _read_by_id(directory / "queries.dev.small.tsv")
    variants = [_read_by_id(path) for path in sorted(directory.glob("queries.dev.small.typo*.tsv"))]
    for key, query in clean.items():
        typos = [queries[key] for queries in variants if queries.get(key, query) != query]
        yield query, typos


def _read_by_id(path: Path) -> dict[str, str]:
    rows = (line.partition("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {key: " ".join(query.split()) for key, _, query in rows if query.strip()}


def read_disfluent(directory: Path) -> Iterator[tuple[str, str]]:
    """Yields a disfluent question and the question that was meant."""
    for name in ("train.json", "dev.json"):
        for row in json.loads((directory / name).read_text(encoding="utf-8")).values():
            if row["disfluent"].strip() and row["original"].strip():
                yield row["disfluent"].strip(), row["original"].strip()


def read_mqr(path: Path) -> Iterator[tuple[str, str]]:
    """Yields an ill-formed question and the well-formed question that a person made of it."""
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        cells = line.split("\t")
        yield cells[-3].strip(), cells[-2].strip()


def read_rated(path: Path) -> Iterator[tuple[str, float]]:
    """Yields a question and people's rating of its well-formedness, 0 to 1."""
    for line in path.read_text(encoding="utf-8").splitlines():
        text, _, rating = line.rpartition("\t")
        yield re.sub(r" (?=[?.,!'])", "", text.strip()), float(rating)


def read_variants(path: Path) -> Iterator[list[str]]:
    """Yields the queries that people typed for one topic."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, query = line.partition(";")
        groups[key.partition("-")[0]].append(" ".join(query.split()))
    yield from groups.values()


def read_topics(directory: Path) -> Iterator[tuple[str, str]]:
    """Yields the title of a topic, which is a query, and the topic's description."""
    for path in sorted(directory.iterdir()):
        text = path.read_text(encoding="utf-8", errors="replace")
        for match in TOPIC.finditer(text + "</top>"):
            title, description = TITLE.search(match[1]), DESCRIPTION.search(match[1])
            if title and description:
                yield " ".join(title[1].split()), " ".join(description[1].split())


def read_squad(directory: Path) -> Iterator[tuple[str, str]]:
    """Yields SQuAD's questions and their paraphrases, matched by order."""
    for part in ("dev", "adv"):
        originals = list(_read_questions(directory / f"{part}_orig.json"))
        paraphrases = list(_read_questions(directory / f"{part}_para.json"))
        yield from zip(originals, paraphrases, strict=True)


def _read_questions(path: Path) -> Iterator[str]:
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield " ".join(question["question"].split())


def pair_with_next(texts: list[str], count: int) -> Iterator[tuple[str, str]]:
    """Yields ordered pairs: each distinct text with at most `count` texts that follow it.

    The list is a ring, so every text is a target as often as a source.
    """
    distinct = list(dict.fromkeys(texts))
    for index, source in enumerate(distinct):
        for step in range(1, min(count, len(distinct) - 1) + 1):
            yield source, distinct[(index + step) % len(distinct)]
