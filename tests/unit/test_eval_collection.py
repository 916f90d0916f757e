"""Test collections as they are distributed, and questions as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from t5eval import collection
from t5eval.collection import Query
from t5eval.errors import EvaluationError


def test_trec_files(tmp_path: Path) -> None:
    """Vaswani's three files; queries in capitals are asked in small letters."""
    (tmp_path / "doc-text.trec").write_text(
        "<DOC>\n<DOCNO>1</DOCNO>\nsome  text\nof two lines\n</DOC>\n"
        "<DOC>\n<DOCNO>2</DOCNO>\nmore\n</DOC>\n"
    )
    (tmp_path / "query-text.trec").write_text(
        "<top>\n<num>1</num><title>\nLINES OF TEXT\n</title>\n</top>\n"
        "<top>\n<num>2</num><title>\nUNJUDGED\n</title>\n</top>\n"
    )
    (tmp_path / "qrels").write_text("1 0 1 1\n1 0 2 0\n")
    result = collection.read(tmp_path)
    assert result.documents == ["some text of two lines", "more"]
    assert result.queries == [Query("lines of text", frozenset({0}))]


def test_cranfield_counts_its_queries_through(tmp_path: Path) -> None:
    """The judgements' 2 is the second query, though it is called 004; -1 is not relevant."""
    (tmp_path / "cran.all.1400").write_text(
        ".I 1\n.T\na wing\n.A\nsomeone\n.W\na wing\nin a stream .\n.I 2\n.T\nheat\n.W\n"
    )
    (tmp_path / "cran.qry").write_text(".I 001\n.W\nwhat wings\n.I 004\n.W\nwhat\nheat .\n")
    (tmp_path / "cranqrel").write_text("1 1 2 \n1 2 -1\n2 2 4\n")
    result = collection.read(tmp_path)
    assert result.documents == ["a wing in a stream .", "heat"]
    assert result.queries == [
        Query("what wings", frozenset({0})),
        Query("what heat .", frozenset({1})),
    ]


def test_cisi_has_no_grades(tmp_path: Path) -> None:
    """Every line judges relevant; a title not repeated by the text stands before it."""
    (tmp_path / "CISI.ALL").write_text(".I 7\n.T\nTitles\n.W\nAbout them.\n.X\n1\t5\t1\n")
    (tmp_path / "CISI.QRY").write_text(".I 1\n.W\nWhich titles?\n.I 2\n.W\nNone\n")
    (tmp_path / "CISI.REL").write_text("     1      7\t0\t0.000000\n")
    result = collection.read(tmp_path)
    assert result.documents == ["Titles About them."]
    assert result.queries == [Query("Which titles?", frozenset({0}))]


def test_judged_but_not_there(tmp_path: Path) -> None:
    """Files that do not fit one another are told, not half used."""
    (tmp_path / "CISI.ALL").write_text(".I 1\n.T\nT\n.W\nW\n")
    (tmp_path / "CISI.QRY").write_text(".I 1\n.W\nQ\n")
    (tmp_path / "CISI.REL").write_text("1 9 0 0\n")
    with pytest.raises(EvaluationError, match="judged, but not there: 9"):
        collection.read(tmp_path)
    with pytest.raises(EvaluationError, match=r"none of doc-text\.trec"):
        collection.read(tmp_path / "elsewhere")


def test_questions_are_documents_for_one_another(tmp_path: Path) -> None:
    """The first file asks, all are searched, and none finds itself."""
    first, more = tmp_path / "valid.tsv", tmp_path / "test.tsv"
    first.write_text("how old\twhat age\nhow many years\thow old\nsame\tsame\n")
    more.write_text("which way\twhere to\n")
    result = collection.read_questions([first, more])
    assert result.name == "valid+test"
    assert result.documents == [
        "how old", "what age", "how many years", "same", "which way", "where to",
    ]  # fmt: skip
    assert result.queries == [
        Query("how old", frozenset({1, 2}), frozenset({0})),
        Query("how many years", frozenset({0, 1}), frozenset({2})),  # by way of the first
    ]
