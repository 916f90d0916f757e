"""Readers of the public sets: each turns one set's files into texts or pairs, unfiltered."""

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


def quora(path: Path) -> Iterator[tuple[str, str]]:
    """Duplicate questions; one that has quotation marks is quoted as a whole, as in CSV."""
    for line in path.read_text(encoding="utf-8").splitlines():
        left, right, *_ = [*next(csv.reader([line], delimiter="\t")), "", ""]
        if left.strip() and right.strip():
            yield left.strip(), right.strip()


def alexdong(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Questions that need the same searches, and those searches."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        groups[row["subqueries"]].append(" ".join(row["query"].split()))
    for joined, questions in groups.items():
        yield questions, [" ".join(query.split()) for query in joined.split("|") if query.strip()]


def typos(directory: Path) -> Iterator[tuple[str, list[str]]]:
    """A clean query and the variants of it that have one typo."""
    clean = _by_id(directory / "queries.dev.small.tsv")
    variants = [_by_id(path) for path in sorted(directory.glob("queries.dev.small.typo*.tsv"))]
    for key, query in clean.items():
        yield query, [one[key] for one in variants if one.get(key, query) != query]


def _by_id(path: Path) -> dict[str, str]:
    rows = (line.partition("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {key: " ".join(query.split()) for key, _, query in rows if query.strip()}


def disfluent(directory: Path) -> Iterator[tuple[str, str]]:
    """A disfluent question and the one that was meant."""
    for name in ("train.json", "dev.json"):
        for row in json.loads((directory / name).read_text(encoding="utf-8")).values():
            if row["disfluent"].strip() and row["original"].strip():
                yield row["disfluent"].strip(), row["original"].strip()


def mqr(path: Path) -> Iterator[tuple[str, str]]:
    """An ill-formed question and the well-formed one that a person made of it."""
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        cells = line.split("\t")
        yield cells[-3].strip(), cells[-2].strip()


def rated(path: Path) -> Iterator[tuple[str, float]]:
    """A question and how well-formed people found it, 0 to 1."""
    for line in path.read_text(encoding="utf-8").splitlines():
        text, _, rating = line.rpartition("\t")
        yield re.sub(r" (?=[?.,!'])", "", text.strip()), float(rating)


def variants(path: Path) -> Iterator[list[str]]:
    """The queries that people typed for one topic."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, query = line.partition(";")
        groups[key.partition("-")[0]].append(" ".join(query.split()))
    yield from groups.values()


def topics(directory: Path) -> Iterator[tuple[str, str]]:
    """The title of a topic, which is a query, and the sentence that describes it."""
    for path in sorted(directory.iterdir()):
        text = path.read_text(encoding="utf-8", errors="replace")
        for match in TOPIC.finditer(text + "</top>"):
            title, description = TITLE.search(match[1]), DESCRIPTION.search(match[1])
            if title and description:
                yield " ".join(title[1].split()), " ".join(description[1].split())


def squad(directory: Path) -> Iterator[tuple[str, str]]:
    """SQuAD's questions and their paraphrases, matched by order."""
    for part in ("dev", "adv"):
        original, other = (
            list(_questions(directory / f"{part}_{kind}.json")) for kind in ("orig", "para")
        )
        yield from zip(original, other, strict=True)


def _questions(path: Path) -> Iterator[str]:
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield " ".join(question["question"].split())


def ordered(texts: list[str], most: int) -> Iterator[tuple[str, str]]:
    """Ordered pairs of different texts: each with as many as that of those which follow it.

    The list is a ring, so every text is a target as often as a source.
    """
    different = list(dict.fromkeys(texts))
    for place, left in enumerate(different):
        for step in range(1, min(most, len(different) - 1) + 1):
            yield left, different[(place + step) % len(different)]
