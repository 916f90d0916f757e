"""scripts/bench.py from its command line to its files, on a tiny random model."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

import bench
from support import tiny
from support.samples import included_vocabulary
from t5bench import candidates, tables
from t5bench.errors import BenchError
from t5bench.queries import Query
from t5bench.runner import EngineRunner
from t5bench.service import HttpRunner
from t5bench.shapes import SHAPES, Shape


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["bench.py", *map(str, arguments)])
    return bench.main()


def measure(
    directory: Path, monkeypatch: pytest.MonkeyPatch, file_type: str, *groups: str
) -> dict[str, Any]:
    """Everything once, on a shape that is smaller than its name says."""
    monkeypatch.setitem(SHAPES, "t5-small", Shape(d_model=64, d_ff=128, heads=2, layers=2, d_kv=32))
    tokenizer = directory / "tokenizer"
    tokenizer.mkdir()
    tiny.vocabulary(tokenizer / "spiece.model")
    queries = directory / "queries.txt"
    queries.write_text("".join(tiny.QUERIES.read_text().splitlines(keepends=True)[:5]))
    status = run(
        monkeypatch,
        *("peers", "--shapes", "t5-small", "--tokenizer", tokenizer, "--queries", queries),
        *("--work", directory / "work", "--out", directory / "out" / "v1.1"),
        *("--types", file_type, "--contestants", *groups),
        *("--tokens-in", "6", "12", "--tokens-out", "4", "12", "--cold-starts", "1"),
        *("--rounds", "1", "--main-rounds", "2", "--trial-rounds", "1"),
    )
    assert status == 0
    results: dict[str, Any] = json.loads((directory / "out" / "v1.1.json").read_text())
    return results


def test_this_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In process and over HTTP: the figures fit together, and the tables have all of them."""
    results = measure(tmp_path, monkeypatch, "Q8_0", "t5serve")
    (shape,) = results["shapes"]
    names = ["t5serve Q8_0", "t5serve Q8_0, HTTP", "t5serve Q8_0, HTTP, reformulate"]
    rows = {row["name"]: row for row in shape["contestants"]}
    assert list(rows) == names
    assert shape["baseline"] == names[1]
    assert shape["main"] == [12, 12]
    cells = {(c["contestant"], c["tokens_in"], c["tokens_out"]): c for c in shape["cells"]}
    assert cells.keys() == {(n, i, o) for n in names for i in (6, 12) for o in (4, 12)}
    for (_, tokens_in, out), cell in cells.items():
        samples = cell["samples_ms"]
        assert len(samples) == cell["rounds"] == (2 if (tokens_in, out) == (12, 12) else 1)
        assert cell["median_ms"] == pytest.approx(statistics.median(samples), abs=0.001)
        assert cell["median_ms"] <= cell["p95_ms"] <= cell["p99_ms"] <= max(samples) + 0.001
        assert 0 < cell["other_ms"] < cell["median_ms"]
        baseline = cells[names[1], tokens_in, out]["median_ms"]
        assert cell["ratio"] == pytest.approx(cell["median_ms"] / baseline)
    for row in rows.values():
        assert len(row["cold_start_ms"]) == 1
        assert row["agreement"] == (1 if row["inside"] is None else None)
        assert row["peak_bytes"] > row["private_bytes"] > 1 << 20
        assert {token["tokens_in"] for token in row["per_token"]} <= {6, 12}
        assert all(token["ms"] > 0 for token in row["per_token"])
        assert (row["http_adds_ms"] is None) == (row["inside"] is None)
        assert row["logits"]["rms"] < 0.05
    page = (tmp_path / "out" / "v1.1.md").read_text()
    assert all(f"| {name} |" in page for name in names)

    capsys.readouterr()
    assert run(monkeypatch, "tables", tmp_path / "out" / "v1.1.json") == 0
    assert capsys.readouterr().out.strip() == page.strip()
    other_page = tmp_path / "page.md"
    other_page.write_text(f"{tables.BEGIN}{tables.END}")
    assert run(monkeypatch, "tables", tmp_path / "out" / "v1.1.json", "--into", other_page) == 0
    assert page.strip() in other_page.read_text()


@pytest.mark.parametrize("group", ["pytorch", "ctranslate2", "onnxruntime"])
def test_peers_say_the_same(group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured is the same model: in full precision each token is that of this engine."""
    for package in candidates.PACKAGES[group]:
        pytest.importorskip(package)
    results = measure(tmp_path, monkeypatch, "F32", "t5serve", group)
    (shape,) = results["shapes"]
    peers = [row for row in shape["contestants"] if not row["name"].startswith("t5serve")]
    assert peers
    for row in peers:
        assert row["agreement"] == 1 or not row["name"].endswith("fp32")
        assert row["agreement"] is not None
    for trial in shape["tournaments"]:
        assert trial["best"] == min(trial["median_ms"], key=trial["median_ms"].get)


def test_runners_that_fail(tmp_path: Path, embedded: Path) -> None:
    """One that can't start says why; one that tokenises otherwise is refused."""
    nothing = tmp_path / "nothing.gguf"
    with pytest.raises(BenchError, match=r"(?s)Broken ended: .*nothing\.gguf"):
        EngineRunner("Broken", "t5engine", {"path": str(nothing), "threads": 1}).start()
    with pytest.raises(BenchError, match=r"(?s)not ready: .*nothing\.gguf does not exist"):
        HttpRunner("Broken", nothing, 1).start()
    service = HttpRunner("tiny", embedded, 1).start()
    try:
        with pytest.raises(BenchError, match=r"took 'a cat' for . tokens, not 9"):
            service.ask(Query("a cat", [1] * 9), 4)
    finally:
        service.close()


@pytest.mark.parametrize("peers", [[], ["pytorch"], ["onnxruntime"]])
def test_reranking(
    peers: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Documents are judged by each contestant, and by the service beside queries."""
    for package in {package for group in peers for package in candidates.PACKAGES[group]}:
        pytest.importorskip(package)
    monkeypatch.setitem(SHAPES, "t5-small", Shape(d_model=64, d_ff=128, heads=2, layers=2, d_kv=32))
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    included_vocabulary(tokenizer / "spiece.model")
    status = run(
        monkeypatch,
        *("rerank", "--shape", "t5-small", "--tokenizer", tokenizer, "--work", tmp_path / "work"),
        *("--out", tmp_path / "out" / "v1.1", "--types", "F32"),
        *("--contestants", "t5serve", *peers),
        *("--documents", "5", "--tokens", "12", "--rounds", "2", "--trial-rounds", "1"),
        *("--beside", "6", "--calls", "6", "--threads", "1"),
    )
    assert status == 0
    results = json.loads((tmp_path / "out" / "v1.1.json").read_text())
    assert all(len(samples) == 2 for samples in results["speed"]["milliseconds"].values())
    assert len(results["speed"]["milliseconds"]) == 1 + len(peers)
    assert results["beside"]["F32"].keys() == {"alone_ms", "beside_ms"}
    assert all(size > 1 << 20 for size in results["memory"]["F32"].values())
    assert "| t5serve F32 |" in capsys.readouterr().out
