"""scripts/bench.py from its command line to its files, on a tiny random model."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

import bench
from support import tiny
from support.samples import english_vocabulary
from t5bench import tables
from t5bench.candidate import ANY_ISA
from t5bench.errors import BenchError
from t5bench.interpreters import find_interpreters
from t5bench.queries import Query
from t5bench.runner import EngineRunner
from t5bench.service import HttpRunner
from t5bench.shapes import SHAPES, Shape
from t5bench.throughput import Load
from t5engine.config import KernelsName
from t5engine.kernels.loader import Kernels


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["bench.py", *map(str, arguments)])
    return bench.main()


def measure(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    file_type: str,
    *groups: str,
    options: Sequence[str | Path] = (),
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
        *("--rounds", "1", "--main-rounds", "2", "--trial-rounds", "1", *options),
    )
    assert status == 0
    results: dict[str, Any] = json.loads((directory / "out" / "v1.1.json").read_text())
    return results


def test_this_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In process and over HTTP: the figures fit together, and the tables have all of them."""
    kept = tmp_path / "history"
    results = measure(tmp_path, monkeypatch, "Q8_0", "t5serve", options=["--history", kept])
    (copy,) = kept.iterdir()
    assert copy.name == f"v1.1-{results['machine']['time'][:10]}.json"
    assert json.loads(copy.read_text()) == results
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
        assert cell["cpu_seconds"] > 0
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
        assert (row["instruction_sets"], row["threads"]) == (ANY_ISA, shape["threads"])
        assert row["settings"]["kernels"] == "auto"
    page = (tmp_path / "out" / "v1.1.md").read_text()
    assert all(page.count(f"| {name} |") == 3 for name in names)
    assert f"| {names[1]} | {ANY_ISA} | {shape['threads']} |  | api=completions, kernels" in page

    capsys.readouterr()
    assert run(monkeypatch, "tables", tmp_path / "out" / "v1.1.json") == 0
    assert capsys.readouterr().out.strip() == page.strip()
    other_page = tmp_path / "page.md"
    other_page.write_text(f"{tables.BEGIN}{tables.END}")
    assert run(monkeypatch, "tables", tmp_path / "out" / "v1.1.json", "--into", other_page) == 0
    assert page.strip() in other_page.read_text()


OWN_INTERPRETERS = {"openvino": os.environ.get("BENCH_PYTHON_OPENVINO", sys.executable)}


@pytest.mark.parametrize("group", ["pytorch", "ctranslate2", "onnxruntime", "openvino"])
def test_peers_say_the_same(group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured is the same model: in full precision each token is that of this engine."""
    named = {name: path for name, path in OWN_INTERPRETERS.items() if name == group}
    if advice := find_interpreters(named)[group].advice:
        pytest.skip(advice)
    python = [f"--python={name}={path}" for name, path in named.items()]
    results = measure(tmp_path, monkeypatch, "F32", "t5serve", group, options=python)
    (shape,) = results["shapes"]
    peers = [row for row in shape["contestants"] if not row["name"].startswith("t5serve")]
    assert peers
    for row in peers:
        assert row["agreement"] == 1 or not row["name"].endswith("fp32")
        assert row["agreement"] is not None
    for trial in shape["tournaments"]:
        assert trial["best"] == min(trial["median_ms"], key=trial["median_ms"].get)


def test_another_interpreter(tmp_path: Path, embedded: Path) -> None:
    """An engine runs with the interpreter of its group, and answers as with this one."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$2" > {tmp_path}/ran\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    arguments = {"path": str(embedded), "threads": 1, "kernels": "ggml"}
    answers = []
    for path in (str(python), sys.executable):
        session = EngineRunner("Ours", "t5engine", arguments, python=path).start()
        try:
            answers.append(session.ask(Query("", [5, 6, 7, 1]), 6).tokens)
        finally:
            session.close()
    assert answers[0] == answers[1] is not None
    assert (tmp_path / "ran").read_text() == "t5bench.child\n"


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


@pytest.mark.parametrize("rows", [["1"], ["1", "2"], ["70"]])
def test_backends(rows: list[str], embedded: Path) -> None:
    """Any number of rows is measured, by each kernel and by llama.cpp."""
    short = ["--rounds", "1", "--tokens-in", "4", "--tokens-out", "1", "--threads", "1"]
    command = [sys.executable, bench.__file__, "backends", str(embedded), *short]
    ended = subprocess.run(
        [*command, "--rows", *rows], check=False, capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    speeds = re.findall(r"(graph|ggml's kernels|llama) (\d+) rows: +(\d+) tokens/s", ended.stdout)
    expected = [(name, count) for count in rows for name in ("graph", "ggml's kernels")]
    assert [speed[:2] for speed in speeds] == [*expected, ("llama", rows[-1])]
    assert all(int(speed) > 0 for *_, speed in speeds)


def test_kernels(embedded: Path) -> None:
    """Each instruction set is measured, for the encoder and a token, and slower cells are named."""
    short = ["--rounds", "2", "--tokens-in", "4", "--tokens-out", "2", "--threads", "1"]
    command = [sys.executable, bench.__file__, "kernels", str(embedded), *short, "--rows", "1", "3"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = [line.strip("| ").split(" | ") for line in ended.stdout.splitlines() if "gguf |" in line]
    names = [name for name in get_args(KernelsName)[2:] if Kernels.find(name)]
    cells = [("encoder, 4 tokens"), ("token, 1 rows"), ("token, 3 rows")]
    expected = [(cell, name) for cell in cells for name in [*names, "ggml"]]
    assert [(row[1], row[2]) for row in rows] == expected
    slower = [row for row in rows if row[2] != "ggml" and float(row[5]) < 1]
    assert f"Slower than ggml's: {len(slower) or 'none'}" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "0"], "argument --rows: invalid positive value: '0'"),
        (["--tokens-out", "5000"], "bench: row 0: more than 128 tokens"),
        (["--kernels", "neon" if Kernels.find("avx2") else "avx2"], "this processor has no neon"),
    ],
)
def test_backends_that_fail(arguments: list[str], message: str, embedded: Path) -> None:
    """What can't be measured is told in one line, and is no traceback."""
    command = [sys.executable, bench.__file__, "backends", str(embedded), "--rounds", "1"]
    ended = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert message in ended.stderr.splitlines()[-1]


def test_throughput(
    tmp_path: Path,
    embedded: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A service is kept busy with and without a cache; an answer that is an error is told."""
    out = tmp_path / "figures.json"
    short = ("throughput", embedded, "--n", "1", "--rounds", "1", "--clients", "2")
    quick = ("--seconds", "0.5", "--warm-up", "0.2", "--set", "T5SERVE_THREADS=1")
    assert run(monkeypatch, *short, *quick, "--out", out) == 0
    cells = json.loads(out.read_text())["cells"]
    assert [cell["cached"] for cell in cells] == [False, True]
    for cell in cells:
        (figures,) = cell["rounds"]
        assert figures["queries_per_second"] > 1
        assert figures["median_ms"] > 0
        assert figures["cpu_seconds"] > 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + len(cells)
    assert run(monkeypatch, *short, *quick, "--max-tokens", "1000") == 1
    assert "the service answered" in capsys.readouterr().err


def test_queries_of_a_load() -> None:
    """Queries repeat as in a search's log where there is a cache, and never where there is none."""
    lines = ["first", "second"]
    fresh = Load(Path("a.gguf"), 1, cached=False).queries(lines, 0)
    assert len({next(fresh) for _ in range(100)}) == 100
    popular = Load(Path("a.gguf"), 1, cached=True).queries(lines * 5, 0)
    counts = Counter(next(popular) for _ in range(1000)).most_common()
    assert counts[0][1] > 3 * counts[9][1] > 0


@pytest.mark.parametrize("peers", [[], ["pytorch"], ["onnxruntime"]])
def test_reranking(
    peers: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Documents are judged by each contestant, and by the service beside queries."""
    for peer in peers:
        if advice := find_interpreters({})[peer].advice:
            pytest.skip(advice)
    monkeypatch.setitem(SHAPES, "t5-small", Shape(d_model=64, d_ff=128, heads=2, layers=2, d_kv=32))
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    english_vocabulary(tokenizer / "spiece.model")
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
