"""Document expansion by a tiny random model: over HTTP, and of a file, in the forms of indexers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from support.conversions import convert_conversing
from support.parity import golden
from support.serving import Server, start, stop
from t5serve.reformulation.text import clean, fold

DOCUMENTS = golden("templates")["documents"]
SAMPLED: dict[str, Any] = {"strategy": "sample", "seed": 1, "temperature": 1.5}
OPTIONS = ("--strategy", "sample", "--temperature", "1.5", "--seed", "1", "--max-tokens", "12")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_conversing(tmp_path_factory.mktemp("expanding"))


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[Server]:
    running = start(model=str(file), timeout_ms="60000", max_body_bytes="2000000")
    running.wait_until_ready()
    yield running
    stop(running)


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def expand(http: httpx.Client, document: str, **body: object) -> httpx.Response:
    return http.post("/v1/reformulate", json={"task": "doc2query", "query": document, **body})


def batch(file: Path, source: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "t5serve", "batch", str(source), "--output", str(out)]
    command += ["--task", "doc2query", "--force", *options]
    command += [] if "--url" in options else ["--model", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Three documents as MS MARCO has them: an id, a tab, a text; the last is too long."""
    texts = [case["document"] for case in DOCUMENTS[:1]] + ["a black hole", "in paris " * 5000]
    path = tmp_path / "collection.tsv"
    lines = (f"D{index}\t{clean(text)}\n" for index, text in enumerate(texts))
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("case", DOCUMENTS[2:])
def test_documents_are_answered_as_by_transformers(http: httpx.Client, case: Any) -> None:
    """Greedily; a long document loses its end, by the tokens that the tokenizer counts."""
    answer = expand(http, case["document"], n=1).json()
    assert answer["results"][0]["queries"] == [clean(case["text"])]
    assert answer["usage"]["prompt_tokens"] == len(case["prompt_ids"])


def test_sixteen_samples(http: httpx.Client) -> None:
    """As many distinct queries as were asked for, none of which is the document."""
    response = expand(http, "a black hole", n=16, **SAMPLED)
    (result,) = response.json()["results"]
    folded = {fold(query) for query in result["queries"]}
    assert 12 <= len(folded) == len(result["queries"]) <= 16
    assert all(one["source"] == "model" for one in result["reformulations"])
    assert expand(http, "a black hole", n=17).status_code == 400
    (usual,) = expand(http, "a black hole").json()["results"]
    assert 1 <= len(usual["queries"]) <= 3  # the task's n


def test_a_megabyte_is_a_document(http: httpx.Client) -> None:
    """What a model can't read is cut; the text of the template around it never is."""
    (first,), (second,) = (
        expand(http, "in paris " * count, task="title", n=1).json()["results"]
        for count in (600, 110_000)
    )
    assert first["queries"] == second["queries"]
    other = expand(http, "in paris " * 600, task="title", n=1).json()
    assert other["usage"]["prompt_tokens"] == 512


def test_what_has_no_meaning_for_documents(http: httpx.Client) -> None:
    """Is refused with a reason; guards that are turned off are none."""
    for body in ({"preserve": ["numbers"]}, {"include_original": True}, {"history": ["a"]}):
        response = expand(http, "a black hole", **body)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == next(iter(body))
    assert expand(http, "a black hole", preserve=[]).status_code == 200
    for code in ("git rebase --onto main", "def f(x): return x;"):  # no query, so none is left
        assert expand(http, code).json()["results"][0]["unchanged_reason"] is None


def test_predicted_queries(file: Path, collection: Path, tmp_path: Path) -> None:
    """64 samples of each document, in the form of the published expansions of MS MARCO."""
    out = tmp_path / "queries.jsonl"
    ran = batch(file, collection, out, "--format", "predicted-queries", "-n", "64", *OPTIONS)
    assert ran.returncode == 0, ran.stderr
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [set(row) for row in rows] == [{"id", "predicted_queries"}] * 3
    assert [row["id"] for row in rows] == ["D0", "D1", "D2"]
    for row in rows:
        folded = {fold(query) for query in row["predicted_queries"]}
        assert 30 < len(folded) == len(row["predicted_queries"]) <= 64


def test_an_expanded_collection(file: Path, collection: Path, tmp_path: Path) -> None:
    """Anserini indexes `contents`; as TSV the file is a collection again."""
    out, plain = tmp_path / "docs.jsonl", tmp_path / "docs.tsv"
    for path in (out, plain):
        ran = batch(file, collection, path, "--format", "anserini", "-n", "3", *OPTIONS)
        assert ran.returncode == 0, ran.stderr
    documents = dict(line.split("\t") for line in collection.read_text().splitlines())
    rows = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    for line, row in zip(plain.read_text().splitlines(), rows, strict=True):
        name, text = line.split("\t")
        assert set(row) == {"id", "contents"}
        document, _, queries = row["contents"].partition("\n")
        assert (row["id"], document) == (name, documents[name])
        assert len(queries.split()) >= 3
        assert text == clean(row["contents"])


def test_queries_in_one_column(file: Path, collection: Path, tmp_path: Path) -> None:
    """As docTTTTTquery's scripts take predictions: a line of queries per document."""
    out = tmp_path / "queries.tsv"
    ran = batch(file, collection, out, "--format", "predicted-queries", "-n", "2", *OPTIONS)
    assert ran.returncode == 0, ran.stderr
    rows = [line.split("\t") for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row[0] for row in rows] == ["D0", "D1", "D2"]
    assert all(len(row) == 2 and row[1] for row in rows)


def test_columns_of_pyterrier(file: Path, collection: Path, tmp_path: Path, server: Server) -> None:
    """`querygen` has a query per line, as pyterrier_doc2query writes; a service gives the same."""
    frames = []
    for options in ((), ("--url", server.url)):
        out = tmp_path / "frame.jsonl"
        ran = batch(file, collection, out, "--format", "pyterrier", "-n", "20", *OPTIONS, *options)
        assert ran.returncode == 0, ran.stderr
        frames.append(pd.read_json(out, lines=True))
    embedded, served = frames
    assert list(embedded.columns) == ["docno", "text", "querygen"]
    assert embedded.equals(served)
    assert all(len(queries.split("\n")) > 12 for queries in embedded["querygen"])


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("x.jsonl", ("-n", "17"), "-n over 16 is for documents"),
        ("x.jsonl", ("-n", "65", "--format", "anserini"), "-n must be at most 64"),
        ("x.jsonl", ("-n", "0", "--format", "anserini"), "n: "),
        ("x.jsonl", ("-n", "20", "--format", "anserini"), "needs --strategy sample"),
        (
            "x.jsonl",
            ("-n", "20", "--format", "anserini", "--url", "http://127.0.0.1:1"),
            "needs --strategy sample",
        ),
        ("x.parquet", ("--format", "anserini"), "not for Parquet"),
        ("x.tsv", ("--format", "pyterrier"), "is for .jsonl"),
    ],
)
def test_options_that_are_refused(
    file: Path, collection: Path, tmp_path: Path, out: str, options: tuple[str, ...], message: str
) -> None:
    """With a line that says what to do."""
    ran = batch(file, collection, tmp_path / out, *options)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert not (tmp_path / out).exists()
