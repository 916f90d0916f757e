"""scripts/evaluate.py on real models."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

import evaluate
from support import tiny
from t5eval import service
from t5eval.messages import Request
from t5eval.systems import answer_requests
from t5gguf.convert import Converter
from t5gguf.writer import Provenance
from t5serve.reformulation.options import Options

QUERIES = tiny.QUERIES.read_text().splitlines()


def test_files_for_the_embedded_model(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From two pairs and three questions to JSON, tables and picture."""
    for package in evaluate.REQUIRED:
        pytest.importorskip(package)
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text(
        "how do I cook rice\thow is rice cooked\nbest phone of 2019\ttop phones 2019\n"
    )
    out = tmp_path / "out" / "v1.1"
    arguments = [str(embedded), "--pairs", str(pairs), "--questions", str(pairs)]
    monkeypatch.setattr(
        "sys.argv", ["evaluate", *arguments, "--out", str(out), "--no-semantics", "--seed", "5"]
    )
    assert evaluate.main() == 0
    results = json.loads((tmp_path / "out" / "v1.1.json").read_text())
    assert results["models"] == ["tiny-t5-Q8_0"]
    assert results["settings"]["models"] == ["tiny-t5-Q8_0.gguf"]
    (pair_set,) = results["pairs"]
    assert pair_set["systems"]["tiny-t5-Q8_0"]["fell_back"] == 0
    assert len(pair_set["examples"]) == 2
    (collection,) = results["collections"]
    assert (collection["documents"], collection["queries"]) == (4, 2)
    assert [row["searched_by"] for row in collection["rows"]] == [
        "original",
        "reformulation",
        "original + 3 fused",
    ]
    assert "## pairs: 2 pairs" in (tmp_path / "out" / "v1.1.md").read_text()
    assert (tmp_path / "out" / "v1.1.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "options",
    [
        Options(strategy="greedy", max_tokens=8),
        Options(strategy="beam", n=2, max_tokens=8),
    ],
)
def test_a_checkpoint_answers_like_its_file(options: Options, tmp_path: Path) -> None:
    """Transformers, and the engine on the F32 file of the same random weights."""
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    directory = tiny.build("restless", tmp_path / "checkpoint")
    file = tmp_path / "x.gguf"
    Converter(directory, Provenance("tiny"), QUERIES[:2]).convert(file, "F32", progress=False)
    requests = [Request(query, options) for query in [*QUERIES[:12], "long " * 600]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own
        ours = answer_requests(str(directory), requests, {})
    assert ours[-1].fell_back
    assert ours == service.answer_requests(str(file), requests, {})
    prefixes = {"ask": "ask: "}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prefixed = answer_requests(str(directory), requests[:4], prefixes)
    assert prefixed == service.answer_requests(str(file), requests[:4], prefixes) != ours[:4]
