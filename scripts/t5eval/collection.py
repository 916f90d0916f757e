"""Test collections: documents, queries, and which documents are relevant to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from t5eval import pairs
from t5eval.errors import EvaluationError
from t5serve.reformulation.text import clean

RECORD = re.compile(r"^\.I\s+(\d+)\s*$", re.MULTILINE)
FIELD = re.compile(r"^\.([A-Z])\s*$", re.MULTILINE)
DOCUMENT = re.compile(r"<DOCNO>(\w+)</DOCNO>(.*?)</DOC>", re.DOTALL)
TOPIC = re.compile(r"<num>(\w+)</num>\s*<title>(.*?)</title>", re.DOTALL)


@dataclass(frozen=True)
class Query:
    """One query; documents by their place. Excluded ones are not there for it."""

    text: str
    relevant: frozenset[int]
    excluded: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Collection:
    """Documents, and queries that have a relevant one."""

    name: str
    documents: list[str]
    queries: list[Query]


def read(directory: Path) -> Collection:
    """Vaswani, Cranfield or CISI as they are distributed, told by their files' names.

    Relevance is yes or no: a Cranfield judgement of -1 is no, 1 to 4 are yes.

    Raises:
        EvaluationError: none of these, or a file that is not what its name says.
    """
    for file, reader in READERS.items():
        if (directory / file).is_file():
            documents, queries, judged = reader(directory)
            return _collection(directory.name, documents, queries, judged)
    raise EvaluationError(f"{directory}: none of {', '.join(READERS)}")


def questions(files: Sequence[Path]) -> Collection:
    """Pairs of like questions: those of all files are the documents, the first file's are asked.

    A query is the first of a pair, and its own question is no document for it. Relevant is what
    it is paired with, and what that is paired with, and so on: what two questions ask alike, a
    third that asks it too asks like both.

    Raises:
        EvaluationError: a line without two texts.
    """
    every = [pairs.read(file) for file in files]
    texts = [text for found in every for pair in found for text in (pair.source, pair.target)]
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    alike = _alike((places[pair.source], places[pair.target]) for found in every for pair in found)
    own = {text: frozenset({places[text]}) for text in (pair.source for pair in every[0])}
    return Collection(
        name="+".join(file.stem for file in files),
        documents=list(places),
        queries=[
            Query(text, alike[places[text]] - excluded, excluded)
            for text, excluded in own.items()
            if len(alike[places[text]]) > 1
        ],
    )


def _alike(pairs: Iterable[tuple[int, int]]) -> dict[int, frozenset[int]]:
    """By document, all that pairs link it with, itself too."""
    groups: dict[int, set[int]] = {}
    for left, right in pairs:
        one, other = (groups.get(place, {place}) for place in (left, right))
        one |= other
        groups.update(dict.fromkeys(one, one))
    return {place: frozenset(group) for place, group in groups.items()}


Parts = tuple[dict[str, str], dict[str, str], Mapping[str, set[str]]]


def _collection(
    name: str, documents: dict[str, str], queries: dict[str, str], judged: Mapping[str, set[str]]
) -> Collection:
    places = {number: place for place, number in enumerate(documents)}
    unknown = {number for numbers in judged.values() for number in numbers} - places.keys()
    unknown |= judged.keys() - queries.keys()
    if unknown:
        raise EvaluationError(f"{name}: judged, but not there: {', '.join(sorted(unknown)[:5])}")
    return Collection(
        name=name,
        documents=list(documents.values()),
        queries=[
            Query(text, frozenset(places[document] for document in judged[number]))
            for number, text in queries.items()
            if judged.get(number)
        ],
    )


def _vaswani(directory: Path) -> Parts:
    documents = {
        number: clean(text) for number, text in DOCUMENT.findall(_text(directory / "doc-text.trec"))
    }
    queries = {
        number: clean(text) for number, text in TOPIC.findall(_text(directory / "query-text.trec"))
    }
    # All in capitals, as teleprinters wrote; nobody types that today.
    queries = {number: text.lower() for number, text in queries.items()}
    return documents, queries, _judgements(directory / "qrels", document=2, grade=3)


def _cranfield(directory: Path) -> Parts:
    documents = _documents(directory / "cran.all.1400")
    found = _records(directory / "cran.qry")
    # The judgements count the queries through, whatever these call themselves.
    queries = {str(place): fields["W"] for place, (_, fields) in enumerate(found, 1)}
    return documents, queries, _judgements(directory / "cranqrel", document=1, grade=2)


def _cisi(directory: Path) -> Parts:
    documents = _documents(directory / "CISI.ALL")
    queries = {number: fields["W"] for number, fields in _records(directory / "CISI.QRY")}
    return documents, queries, _judgements(directory / "CISI.REL", document=1, grade=None)


READERS: dict[str, Callable[[Path], Parts]] = {
    "doc-text.trec": _vaswani,
    "cran.all.1400": _cranfield,
    "CISI.ALL": _cisi,
}


def _documents(path: Path) -> dict[str, str]:
    """Title and text; Cranfield's texts begin with their title."""
    found = {}
    for number, fields in _records(path):
        title, text = fields.get("T", ""), fields.get("W", "")
        found[number] = text if text.startswith(title) else clean(f"{title} {text}")
    return found


def _records(path: Path) -> list[tuple[str, dict[str, str]]]:
    """SMART's format: a number each, and fields by their letter."""
    parts = RECORD.split(_text(path))[1:]
    found = []
    for number, body in zip(parts[::2], parts[1::2], strict=True):
        fields = FIELD.split(body)[1:]
        named = zip(fields[::2], map(clean, fields[1::2]), strict=True)
        found.append((number, dict(named)))
    return found


def _judgements(path: Path, *, document: int, grade: int | None) -> dict[str, set[str]]:
    """By query, the relevant documents; which column holds what."""
    found: dict[str, set[str]] = {}
    for line in _text(path).splitlines():
        columns = line.split()
        if columns and (grade is None or int(columns[grade]) > 0):
            found.setdefault(columns[0], set()).add(columns[document])
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
