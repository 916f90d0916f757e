"""Test collections: documents, queries, and the documents that are relevant to each query."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from t5eval import pairs, stackfaq
from t5eval.errors import EvaluationError
from t5serve.reformulation.text import clean

RECORD = re.compile(r"^\.I\s+(\d+)\s*$", re.MULTILINE)
FIELD = re.compile(r"^\.([A-Z])\s*$", re.MULTILINE)
DOCUMENT = re.compile(r"<DOCNO>(\w+)</DOCNO>(.*?)</DOC>", re.DOTALL)
TOPIC = re.compile(r"<num>(\w+)</num>\s*<title>(.*?)</title>", re.DOTALL)


@dataclass(frozen=True)
class Query:
    """One query of a collection.

    Attributes:
        text: The query.
        relevant: Indices of the relevant documents.
        excluded: Indices of documents that are not searched for this query.
        thread: Queries of one thread are wordings of one question: tests of significance count
            them as one. None: the query is alone.
    """

    text: str
    relevant: frozenset[int]
    excluded: frozenset[int] = frozenset()
    thread: int | None = None


@dataclass(frozen=True)
class Collection:
    """Documents, and the queries that have a relevant document."""

    name: str
    documents: list[str]
    queries: list[Query]


def read(directory: Path) -> Collection:
    """Reads Vaswani, Cranfield, CISI or StackFAQ as they are distributed.

    The file names tell which collection it is. Relevance is yes or no: a Cranfield judgement of
    -1 is no, 1 to 4 are yes.

    Raises:
        EvaluationError: The directory has none of these collections, or judgements of documents
            or queries that are not in the collection.
    """
    if (directory / stackfaq.FILE).is_file():
        return _read_threads(directory)
    for file, reader in READERS.items():
        if (directory / file).is_file():
            documents, queries, relevant = reader(directory)
            return _build_collection(directory.name, documents, queries, relevant)
    raise EvaluationError(f"{directory}: none of {', '.join([*READERS, stackfaq.FILE])}")


def _read_threads(directory: Path) -> Collection:
    """Reads StackFAQ: all answers are documents; a thread's are relevant to its wordings."""
    documents: list[str] = []
    queries: list[Query] = []
    for number, thread in enumerate(stackfaq.read(directory / stackfaq.FILE)):
        relevant = frozenset(range(len(documents), len(documents) + len(thread.answers)))
        documents += thread.answers
        queries += [Query(text, relevant, thread=number) for text in thread.wordings]
    return Collection(directory.name, documents, queries)


def read_questions(files: Sequence[Path]) -> Collection:
    """Reads files of paraphrase pairs as one collection.

    The questions of all files are the documents. The sources of the first file are the queries;
    a query is excluded from its own documents. A document is relevant to a query if a chain of
    pairs links the two: paraphrases of paraphrases are paraphrases.

    Raises:
        EvaluationError: A line does not have two texts.
    """
    sets = [pairs.read(file) for file in files]
    texts = [text for pair in chain(*sets) for text in (pair.source, pair.target)]
    indices = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    groups = _group_paraphrases(
        (indices[pair.source], indices[pair.target]) for pair in chain(*sets)
    )
    queries = {pair.source: frozenset({indices[pair.source]}) for pair in sets[0]}
    return Collection(
        name="+".join(file.stem for file in files),
        documents=list(indices),
        queries=[
            Query(text, groups[indices[text]] - excluded, excluded)
            for text, excluded in queries.items()
            if len(groups[indices[text]]) > 1
        ],
    )


def _group_paraphrases(pairs: Iterable[tuple[int, int]]) -> dict[int, frozenset[int]]:
    """Returns, by document, the documents that pairs link with it, and the document itself."""
    groups: dict[int, set[int]] = {}
    for left, right in pairs:
        group = groups.get(left, {left})
        group |= groups.get(right, {right})
        groups.update(dict.fromkeys(group, group))
    return {document: frozenset(group) for document, group in groups.items()}


Parts = tuple[dict[str, str], dict[str, str], Mapping[str, set[str]]]
"""Documents by number, queries by number, and relevant documents by the query's number."""


def _build_collection(
    name: str, documents: dict[str, str], queries: dict[str, str], relevant: Mapping[str, set[str]]
) -> Collection:
    indices = {number: index for index, number in enumerate(documents)}
    unknown = {number for numbers in relevant.values() for number in numbers} - indices.keys()
    unknown |= relevant.keys() - queries.keys()
    if unknown:
        raise EvaluationError(f"{name}: judged, but not there: {', '.join(sorted(unknown)[:5])}")
    return Collection(
        name=name,
        documents=list(documents.values()),
        queries=[
            Query(text, frozenset(indices[document] for document in relevant[number]))
            for number, text in queries.items()
            if relevant.get(number)
        ],
    )


def _read_vaswani(directory: Path) -> Parts:
    documents = {
        number: clean(text)
        for number, text in DOCUMENT.findall(_read_text(directory / "doc-text.trec"))
    }
    queries = {
        number: clean(text)
        for number, text in TOPIC.findall(_read_text(directory / "query-text.trec"))
    }
    # The queries are in capitals, as teleprinters wrote; nobody types capitals today.
    queries = {number: text.lower() for number, text in queries.items()}
    return documents, queries, _read_judgements(directory / "qrels", document=2, grade=3)


def _read_cranfield(directory: Path) -> Parts:
    documents = _read_documents(directory / "cran.all.1400")
    records = _read_records(directory / "cran.qry")
    # The judgements number the queries from 1 in their order, not by the queries' own numbers.
    queries = {str(number): fields["W"] for number, (_, fields) in enumerate(records, 1)}
    return documents, queries, _read_judgements(directory / "cranqrel", document=1, grade=2)


def _read_cisi(directory: Path) -> Parts:
    documents = _read_documents(directory / "CISI.ALL")
    queries = {number: fields["W"] for number, fields in _read_records(directory / "CISI.QRY")}
    return documents, queries, _read_judgements(directory / "CISI.REL", document=1, grade=None)


READERS: dict[str, Callable[[Path], Parts]] = {
    "doc-text.trec": _read_vaswani,
    "cran.all.1400": _read_cranfield,
    "CISI.ALL": _read_cisi,
}


def _read_documents(path: Path) -> dict[str, str]:
    """Reads titles and texts; Cranfield's texts begin with their title."""
    documents = {}
    for number, fields in _read_records(path):
        title, text = fields.get("T", ""), fields.get("W", "")
        documents[number] = text if text.startswith(title) else clean(f"{title} {text}")
    return documents


def _read_records(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Reads SMART's format: records of a number, and texts by their field's letter."""
    parts = RECORD.split(_read_text(path))[1:]
    records = []
    for number, body in zip(parts[::2], parts[1::2], strict=True):
        fields = FIELD.split(body)[1:]
        named = zip(fields[::2], map(clean, fields[1::2]), strict=True)
        records.append((number, dict(named)))
    return records


def _read_judgements(path: Path, *, document: int, grade: int | None) -> dict[str, set[str]]:
    """Reads the relevant documents by query.

    Args:
        path: A file with the query in its first column.
        document: The column of the document.
        grade: The column of the grade; None: all lines are relevant.
    """
    relevant: dict[str, set[str]] = {}
    for line in _read_text(path).splitlines():
        columns = line.split()
        if columns and (grade is None or int(columns[grade]) > 0):
            relevant.setdefault(columns[0], set()).add(columns[document])
    return relevant


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
