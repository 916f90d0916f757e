"""scripts/quality.py on the included model and tiny data, as it is distributed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest

import quality
from t5eval import stackfaq
from t5eval.errors import EvaluationError
from t5eval.quality import labels, sources
from t5eval.semantics import Vectors

QUESTIONS = ("how can i learn to play the guitar", "what is the best phone of 2019")
THREADS = "".join(
    f"<qapair><rephr>{text}</rephr><question>x</question><answer>{answer}</answer></qapair>"
    for text, answer in zip(QUESTIONS, ("Learn guitar chords.", "Buy a phone."), strict=True)
)


def embed(texts: Sequence[str]) -> Vectors:
    """Returns a unit vector for each text: how often each letter occurs."""
    counts = [[1.0, *(text.count(letter) for letter in ascii_lowercase)] for text in texts]
    vectors = np.array(counts, np.float32)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with every file that is read, two queries each."""
    first, second = QUESTIONS
    files = {
        "quora/test.tsv": f"{first}\ta\n{second}\tb\n",
        "quora/valid.tsv": f"{first}\thow do i learn guitar\n{second}\ttop phone of 2019\n",
        "typos/queries.dev.small.tsv": f"1\t{first}\n2\t{second}\n",
        "nq-open/NQ-open.dev.jsonl": "".join(
            json.dumps({"question": text, "answer": []}) + "\n" for text in QUESTIONS
        ),
        "trec-cast/2019_evaluation_topics_annotated_resolved_v1.0.tsv": f"31_1\t{first}\n",
        "alexdong/full.jsonl": json.dumps({"query": second, "subqueries": ""}) + "\n",
        "mqr/dev.tsv": f"\ta\tb\tID\till\twell\tcat\n1\t2\t3\t4\t{first}\tx\ty\n",
        "disfl-qa/dev.json": json.dumps({"1": {"original": first, "disfluent": f"who no {first}"}}),
        f"retrieval/stackfaq/{stackfaq.FILE}": f"<qapairs>{THREADS}</qapairs>",
        "retrieval/vaswani/doc-text.trec": "<DOC><DOCNO>1</DOCNO>guitar waves</DOC>\n",
        "retrieval/vaswani/query-text.trec": "<num>1</num><title>GUITAR WAVES</title>\n",
        "retrieval/vaswani/qrels": "1 0 1 1\n",
        "retrieval/cranfield/cran.all.1400": ".I 1\n.T\na wing\n.W\na wing\n",
        "retrieval/cranfield/cran.qry": ".I 001\n.W\nwhat wings\n",
        "retrieval/cranfield/cranqrel": "1 1 2\n",
        "retrieval/cisi/CISI.ALL": ".I 1\n.T\nTitles\n.W\nAbout them.\n",
        "retrieval/cisi/CISI.QRY": ".I 1\n.W\nWhich titles?\n",
        "retrieval/cisi/CISI.REL": "1 1 0 0\n",
    }
    for name, text in files.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "data"


def test_every_source_is_read(data: Path) -> None:
    """With the queries that its file holds; a missing file is named."""
    queries = sources.read_queries(data, 100, seed=0)
    assert set(queries) == set(sources.SOURCES)
    assert queries["MS MARCO"] == queries["StackFAQ"] == queries["Quora"] == [*QUESTIONS]
    assert queries["MQR"] == queries["TREC CAsT"] == [QUESTIONS[0]]
    assert queries["alexdong"] == [QUESTIONS[1]]
    assert queries["Disfl-QA"] == [f"who no {QUESTIONS[0]}"]
    assert queries["Cranfield"] == ["what wings"]
    assert sources.read_meanings(data) == {f"who no {QUESTIONS[0]}": QUESTIONS[0]}
    (data / "mqr" / "dev.tsv").unlink()
    with pytest.raises(EvaluationError, match=r"mqr/dev\.tsv can't be read"):
        sources.read_queries(data, 100, seed=0)


@pytest.mark.slow
def test_the_page_of_the_included_model(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the data to document, plot and figures; a second run answers from the file."""
    few = {"web": ["how do i clean a laptop screen", "is honey vegan", "best running shoes"]}
    monkeypatch.setattr(labels, "read_domains", lambda: few)
    monkeypatch.setattr(quality, "load_embedder", lambda: embed)
    for package in ("bm25s", "Stemmer", "matplotlib", "symspellpy"):
        pytest.importorskip(package)
    out, kept, figures = tmp_path / "quality.md", tmp_path / "answers.json", tmp_path / "q.json"
    arguments = ["tiny-t5", "--data", str(data), "--out", str(out), "--json", str(figures)]
    monkeypatch.setattr("sys.argv", ["quality", *arguments, "--answers", str(kept)])
    assert quality.main() == 0
    results = json.loads(figures.read_text())
    assert [item["name"] for item in results["retrieval"]] == [
        *("vaswani", "cranfield", "cisi", "stackfaq", "quora")
    ]
    assert {row["task"] for row in results["keeping"]} == {
        *("search", "fix", "paraphrase", "question")
    }
    text = out.read_text()
    assert "### stackfaq: 2 documents, 2 queries" in text
    assert "### Dense: stackfaq, 2 documents, 2 queries" in text
    lost = (tmp_path / "quality-lost.md").read_text()
    assert lost.startswith("# Queries whose answers guards refused")
    assert (tmp_path / "images" / "quality.png").stat().st_size > 1000
    monkeypatch.setattr(quality, "ask_service", lambda _model: None)
    assert quality.main() == 0
    assert out.read_text() == text


def test_what_cannot_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says what, and exit code 1."""
    monkeypatch.setattr("sys.argv", ["quality", "tiny-t5", "--data", str(tmp_path)])
    assert quality.main() == 1
    assert "retrieval/vaswani" in capsys.readouterr().err
