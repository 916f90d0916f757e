"""scripts/t5bench: what is read off the measurements, and how they are taken."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import pytest

import bench
from support import tiny
from t5bench import (
    bandwidth,
    candidates,
    derived,
    environment,
    figures,
    history,
    interpreters,
    peers,
    process,
    shapes,
    tables,
)
from t5bench.candidate import ANY_ISA, Candidate, SearchSpace
from t5bench.candidates import Choice
from t5bench.errors import BenchError
from t5bench.files import Files
from t5bench.queries import Query, draw_queries
from t5bench.rounds import interleave, measure
from t5bench.runner import Answer, check_length
from t5bench.tune import select_fastest
from t5engine.cpus import Share
from t5engine.kernels.loader import Kernels
from t5engine.reader import GGUFFile
from t5gguf.checkpoint import Checkpoint
from t5gguf.config import Config
from t5gguf.convert import Converter
from t5gguf.vocab import Vocabulary
from t5gguf.writer import Provenance

NO_PROCESS = 0  # has no directory in /proc, so that nobody waits for it


@dataclass
class FakeSession:
    """Answers in a fixed time, and records the requests."""

    total_ms: float
    log: list[tuple[str, str, int]]
    name: str
    pid: int = NO_PROCESS
    closed: bool = False

    def ask(self, query: Query, tokens: int, *, fixed: bool = True) -> Answer:
        assert fixed
        self.log.append((self.name, query.text, tokens))
        return Answer(self.total_ms * tokens)

    def native_seconds(self) -> float | None:
        return None

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class FakeRunner:
    """A runner whose requests take a fixed time, or which can't be started."""

    name: str
    total_ms: float | None
    started: list[FakeSession] = field(default_factory=list)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {}

    def renamed(self, name: str) -> FakeRunner:
        return replace(self, name=name)

    def start(self) -> FakeSession:
        if self.total_ms is None:
            raise BenchError("an illegal instruction")
        self.started.append(FakeSession(self.total_ms, [], self.name))
        return self.started[-1]


QUERIES = [Query("one", [5, 1]), Query("two", [6, 1])]


def test_a_cell() -> None:
    """Median and percentiles of what requests took, and medians of what was not native and of
    the processor's time, which is seconds of a thousand requests.
    """
    answers = [Answer(10.0, 9.0), Answer(30.0, 27.0), Answer(20.0, 18.0)]
    answers = [answer._replace(cpu_ms=2 * answer.total_ms) for answer in answers]
    cell = figures.summarise(answers)
    assert cell["cpu_seconds"] == 40.0
    assert (cell["rounds"], cell["median_ms"], cell["other_ms"]) == (3, 20.0, 2.0)
    assert (cell["p95_ms"], cell["p99_ms"]) == pytest.approx((29.0, 29.8))
    assert cell["samples_ms"] == [10.0, 30.0, 20.0]
    bare = figures.summarise([Answer(1.0)])
    assert (bare["other_ms"], bare["cpu_seconds"]) == (None, None)


def test_the_time_of_a_token() -> None:
    """The slope between the shortest and the longest output; none of one length."""
    assert figures.time_per_token({12: 50.0, 20: 70.0, 32: 130.0}) == 4.0
    assert figures.time_per_token({12: 50.0}) is None


def test_agreement() -> None:
    """Counts outputs that are equal to their end."""
    assert figures.agreement([[1, 2], [3], []], [[1, 2], [4], []]) == pytest.approx(2 / 3)
    assert figures.cut_at([7, 8, 1, 9], 1) == [7, 8]
    assert figures.cut_at([7, 8], 1) == [7, 8]


def candidate_row(name: str, inside: str | None = None) -> dict[str, Any]:
    return {"name": name, "inside": inside, "weight_bytes": 780, "position_bytes": 10}


def cell(name: str, out: int, median: float, other_ms: float | None) -> dict[str, Any]:
    lengths = {"tokens_in": 12, "tokens_out": out}
    return {"contestant": name, **lengths, "median_ms": median, "other_ms": other_ms}


def test_what_follows() -> None:
    """Ratios to the smallest file over HTTP, the share of the limit, and what HTTP adds."""
    results: dict[str, Any] = {
        "main": (12, 12),
        "bytes_per_second": 500_000.0,
        "contestants": [
            candidate_row("t5serve Q4_0"),
            candidate_row("t5serve Q4_0, HTTP", "t5serve Q4_0"),
            candidate_row("PyTorch fp32"),
        ],
        "cells": [
            cell("t5serve Q4_0", 12, 40.0, 2.0),
            cell("t5serve Q4_0", 32, 120.0, 3.0),
            cell("t5serve Q4_0, HTTP", 12, 50.0, 3.5),
            cell("t5serve Q4_0, HTTP", 32, 130.0, 9.0),
            cell("PyTorch fp32", 12, 200.0, None),
            cell("PyTorch fp32", 32, 520.0, None),
        ],
    }
    derived.add_derived(results)
    in_process, http, peer = results["contestants"]
    assert results["baseline"] == "t5serve Q4_0, HTTP"
    assert [row["ratio"] for row in results["cells"]] == [0.8, 120 / 130, 1.0, 1.0, 4.0, 4.0]
    assert (in_process["http_adds_ms"], http["http_adds_ms"]) == (None, 1.5)
    # 780 of weights, and 12 + 22 positions of 10 bytes: 1,120 bytes take 2.24 ms.
    (token,) = in_process["per_token"]
    assert token == {"tokens_in": 12, "ms": 4.0, "limit_ms": 2.24, "share": 0.56}
    assert peer["per_token"][0]["ms"] == 16.0


def test_rounds_are_interleaved() -> None:
    """Each round has every candidate and length once, on one query; the first is not counted."""
    log: list[tuple[str, str, int]] = []
    sessions = {
        name: FakeSession(milliseconds, log, name)
        for name, milliseconds in (("a", 1.0), ("b", 2.0))
    }
    answers = interleave(sessions, QUERIES, {3: 2, 5: 4}, Random(0))
    assert {key: len(cell) for key, cell in answers.items()} == {
        ("a", 3): 2,
        ("b", 3): 2,
        ("a", 5): 4,
        ("b", 5): 4,
    }
    assert [answer.total_ms for answer in answers["b", 3]] == [6.0, 6.0]
    rounds = [log[:4], log[4:8], log[8:12], log[12:14], log[14:]]
    both = [("a", 3), ("a", 5), ("b", 3), ("b", 5)]
    for number, entries in enumerate(rounds):
        expected = both if number < 3 else [("a", 5), ("b", 5)]
        assert sorted((name, tokens) for name, _, tokens in entries) == expected
        assert len({text for _, text, _ in entries}) == 1
    assert [entries[0][1] for entries in rounds] == ["two", "one", "two", "one", "two"]


@dataclass
class BusySession(FakeSession):
    """Takes a quarter of a second of the processor per request, and ten for its metrics."""

    busy: float = 0.0
    native: float = 0.0

    def ask(self, query: Query, tokens: int, *, fixed: bool = True) -> Answer:
        self.busy += 0.25
        self.native += 0.125
        return super().ask(query, tokens, fixed=fixed)

    def native_seconds(self) -> float:
        self.busy += 10.0
        return self.native


def test_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is that of the request, and not that of the metrics before and after it."""
    session = BusySession(1.0, [], "busy")
    monkeypatch.setattr(process, "busy_seconds", lambda _pid: session.busy)
    answer = measure(session, QUERIES[0], 3)
    assert answer == Answer(3.0, native_ms=125.0, cpu_ms=250.0)


def test_lengths() -> None:
    """A fixed length is met exactly, another one is not exceeded."""
    check_length("x", 4, 4, fixed=True)
    check_length("x", 3, 4, fixed=False)
    with pytest.raises(BenchError, match="x answered with 3 tokens instead of 4"):
        check_length("x", 3, 4, fixed=True)
    with pytest.raises(BenchError, match="5 tokens instead of 4"):
        check_length("x", 5, 4, fixed=False)


def test_the_fastest_settings() -> None:
    """The fastest settings get the peer's name; failures are listed; all sessions are closed."""
    runners = [FakeRunner("slow", 3.0), FakeRunner("fast", 2.0), FakeRunner("wide", None)]
    settings = [Candidate(runner, weight_bytes=7, cache_item_bytes=4) for runner in runners]
    results, best = select_fastest(SearchSpace("Peer int8", settings), QUERIES, 12, 2, Random(0))
    assert (best.name, best.weight_bytes) == ("Peer int8", 7)
    assert best.runner.start().ask(QUERIES[0], 1).total_ms == 2.0
    assert results["best"] == "fast"
    assert list(results["median_ms"].items()) == [("fast", 24.0), ("slow", 36.0)]
    assert results["failed"] == {"wide": "an illegal instruction"}
    assert all(session.closed for runner in runners[:1] for session in runner.started)
    with pytest.raises(BenchError, match="Peer int8: an illegal instruction"):
        select_fastest(SearchSpace("Peer int8", settings[2:]), QUERIES, 12, 2, Random(0))


def test_queries_of_a_length(tmp_path: Path) -> None:
    """Texts that are tokenised to exactly so many ids, the same for the same seed."""
    directory = tiny.build("tied_relu", tmp_path)
    config = Config.load(directory)
    vocabulary = Vocabulary.load(directory, config, config.vocab_size)
    queries = draw_queries(vocabulary, 9, 4)
    assert [len(query.ids) for query in queries] == [9] * 4
    assert [vocabulary.encode(query.text) for query in queries] == [query.ids for query in queries]
    assert queries == draw_queries(vocabulary, 9, 4)
    assert queries != draw_queries(vocabulary, 9, 4, seed=1)
    assert len({query.text for query in queries}) > 1


def test_random_weights(tmp_path: Path) -> None:
    """A checkpoint that the converter reads; the tokens that are no text are near nothing."""
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    tiny.vocabulary(tokenizer / "spiece.model")
    shape = shapes.Shape(d_model=32, d_ff=64, heads=2, layers=1, d_kv=16)
    shapes.write_checkpoint(shape, tokenizer, tmp_path / "one")
    shapes.write_checkpoint(shape, tokenizer, tmp_path / "two")
    shapes.write_checkpoint(shape, tokenizer, tmp_path / "other", seed=1)
    read = [
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two", "other")
    ]
    assert read[0] == read[1] != read[2]
    converter = Converter(tmp_path / "one", Provenance("random"), ["a query"], ())
    assert len(converter.plan("Q8_0")) == len(converter.plan("F32"))
    embedding = Checkpoint.open(tmp_path / "one").tensors["shared.weight"].load()
    assert embedding.shape == (384, 32)
    silent = abs(embedding[[0, 1, 2, *range(tiny.PIECES, 384)]]).max()
    assert silent < 0.1 * abs(embedding[3 : tiny.PIECES]).max(axis=1).min()
    with pytest.raises(BenchError, match=r"has no spiece\.model"):
        shapes.write_checkpoint(shape, tmp_path, tmp_path / "three")


def test_bytes_of_a_step(tmp_path: Path) -> None:
    """Counted from the shape they are those of the F32 file, but for norms and position bias."""
    directory = tiny.build("unequal", tmp_path / "checkpoint")
    file = tmp_path / "x.gguf"
    Converter(directory, Provenance("x"), ["a"], ()).convert(file, "F32", progress=False)
    left_out = sum(
        tensor.nbytes
        for name, tensor in GGUFFile.open(file).tensors.items()
        if name.startswith("dec.") and ("norm" in name or "rel_b" in name)
    )
    config = Config.load(directory)
    assert bandwidth.gguf_step_bytes(file) == bandwidth.step_bytes(config, 4) + left_out
    # One decoder layer, keys and values, six heads of 16.
    assert bandwidth.position_bytes(config, 2) == 2 * 1 * 96 * 2


@pytest.mark.parametrize("module", ["child", "engines.t5engine", "probe", "backends", "kernels"])
def test_what_is_pinned_imports_little(module: str) -> None:
    """PyPI's gguf loads an OpenMP that binds the thread to one processor: ggml's, loaded later,
    then had no second processor, and the bandwidth was half.
    """
    code = f"import sys, t5bench.{module}; sys.exit('gguf' in sys.modules)"
    status = subprocess.call([sys.executable, "-c", code], env=environment.extend_environment({}))
    assert status == 0


def test_a_tree_of_processes(tmp_path: Path) -> None:
    """Memory and processor time of a process, its children and theirs, all threads."""
    for pid, children, peak, busy in ((1, "2 3", 10, [1, 2]), (2, "4", 20, [4]), (4, "", 5, [8])):
        for thread, nanoseconds in enumerate(busy):
            task = tmp_path / f"{pid}" / "task" / f"{pid + thread}"
            task.mkdir(parents=True)
            (task / "schedstat").write_text(f"{nanoseconds}000000000 7 7\n")
        (tmp_path / f"{pid}/task/{pid}/children").write_text(children)
        (tmp_path / f"{pid}/status").write_text(
            f"VmPeak: 99 kB\nVmHWM:\t    {peak} kB\nRssAnon:\t {peak - 1} kB\n"
        )
    assert process.list_tree(1, tmp_path) == [1, 2, 3, 4]  # 3 has ended
    assert process.measure_memory(1, tmp_path) == {
        "peak_bytes": 35 * 1024,
        "private_bytes": 32 * 1024,
    }
    assert process.busy_seconds(1, tmp_path) == 15.0


def test_a_page() -> None:
    """Tables replace what stands between the marks, and nothing else."""
    page = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    new = tables.insert(page, "| a |\n")
    assert new == f"before\n{tables.BEGIN}\n\n| a |\n\n{tables.END}\nafter\n"
    assert tables.insert(new, "| a |") == new
    for wrong in ("", tables.BEGIN, f"{tables.END}{tables.BEGIN}", page + page):
        with pytest.raises(BenchError, match="each once"):
            tables.insert(wrong, "x")


def test_what_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A peer without its package is left out, and named with what to install."""
    monkeypatch.setitem(interpreters.PACKAGES, "pytorch", ("no-such-package",))
    monkeypatch.setitem(interpreters.PACKAGES, "openvino", ("no-such-package", "numpy"))
    options = bench_options(["--contestants", "pytorch", "openvino", "--work", str(tmp_path)])
    with pytest.raises(BenchError, match="no candidate is left"):
        peers.run(options)
    said = capsys.readouterr().out
    assert said == (
        "pytorch is left out: no-such-package not installed (extra `bench`)\n"
        "openvino is left out: no-such-package not installed (extra `bench-openvino`, "
        "in an environment of its own: --python openvino=PATH)\n"
    )


def test_instruction_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that this processor lacks is left out by name, before anything is measured."""
    foreign = "avx2" if not Kernels.find("avx2") else "neon"
    arguments = ["--work", str(tmp_path), "--contestants", "t5serve", "--isa"]
    with pytest.raises(BenchError, match="no candidate is left"):
        peers.run(bench_options([*arguments, foreign]))
    assert f"{foreign} is left out: this processor lacks it\n" in capsys.readouterr().out
    with pytest.raises(BenchError, match="needs --tokenizer"):
        peers.run(bench_options([*arguments, "ggml", foreign]))


def test_every_instruction_set_is_a_candidate(tmp_path: Path) -> None:
    """With each type of file, in process and over HTTP, and with what it may use."""
    files = Files(tmp_path, tiny.build("tied_relu", tmp_path / "checkpoint"), is_random=False)
    found = interpreters.find_interpreters({})
    choice = Choice(["t5serve"], ["Q8_0", "Q4_0"], ["auto", "avx2"], found)
    listed, spaces = candidates.list_candidates(choice, files, Share(1, ()), "")
    assert spaces == []
    rows = [
        {"name": candidate.name, "instruction_sets": candidate.instruction_sets}
        for candidate in listed
    ]
    names = [f"t5serve {file}{isa}" for isa in ("", ", avx2") for file in ("Q8_0", "Q4_0")]
    assert [row["name"] for row in rows] == [n for name in names for n in (name, f"{name}, HTTP")]
    assert [row["instruction_sets"] for row in rows] == [ANY_ISA] * 4 + ["AVX2"] * 4
    settings = [candidate.runner.settings["kernels"] for candidate in listed]
    assert settings == ["auto"] * 4 + ["avx2"] * 4
    assert derived.select_baseline(rows) == "t5serve Q4_0, HTTP"
    fewer = replace(choice, left_out=[row["name"] for row in rows[2:]])
    listed, _ = candidates.list_candidates(fewer, files, Share(1, ()), "")
    assert [candidate.name for candidate in listed] == ["t5serve Q8_0", "t5serve Q8_0, HTTP"]
    unknown = replace(choice, left_out=["t5serve Q9"])
    with pytest.raises(BenchError, match=r"no candidate is named t5serve Q9; there are t5serve Q4"):
        candidates.list_candidates(unknown, files, Share(1, ()), "")


def test_interpreters(tmp_path: Path) -> None:
    """Each group has this interpreter or its own; one that does not run is told with its option."""
    group, path = interpreters.parse_assignment(f"openvino={sys.executable}")
    found = interpreters.find_interpreters({group: path, "pytorch": str(tmp_path / "python")})
    assert found["openvino"].path == found["t5serve"].path == sys.executable
    described = found["t5serve"].description
    assert described["python"] == platform.python_version()
    assert described["versions"]["numpy"] == version("numpy")
    assert found["t5serve"].advice is None
    with pytest.raises(BenchError, match=r"--python pytorch=.*/python: No such file"):
        found["pytorch"].advice  # noqa: B018 - runs the interpreter
    broken = interpreters.Interpreter("pytorch", "/bin/false")
    with pytest.raises(BenchError, match="--python pytorch=/bin/false"):
        broken.advice  # noqa: B018 - likewise
    for wrong in ("openvino", "nobody=python", "t5serve=python"):
        with pytest.raises(ValueError, match=wrong):
            interpreters.parse_assignment(wrong)


def run_of(day: str, processor: str, medians: Mapping[str, float]) -> dict[str, Any]:
    cells = [cell(name, out, ms * out, None) for name, ms in medians.items() for out in (1, 2)]
    shape = {"shape": "t5-base", "threads": 2, "main": (12, 1), "cells": cells}
    return {"machine": {"time": f"{day}T10:00:00", "processor": processor}, "shapes": [shape]}


def test_a_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are kept under name and day; a processor has a table, a run a column, by time."""
    monkeypatch.setattr("sys.argv", ["bench.py", "history", str(tmp_path / "kept")])
    assert bench.main() == 1
    assert "has no results: keep a run with" in capsys.readouterr().err
    kept = [
        history.keep(run, "base", tmp_path / "kept")
        for run in (
            run_of("2026-12-02", "Zen", {"ours": 30.0, "new": 7.0}),
            run_of("2026-11-30", "Zen", {"ours": 40.25}),
            run_of("2026-11-30", "Xeon", {"ours": 50.0}),
        )
    ]
    names = ["base-2026-12-02.json", "base-2026-11-30.json", "base-2026-11-30-2.json"]
    assert [path.name for path in kept] == names
    assert '"main": [12, 1]' in kept[0].read_text()
    assert bench.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        "### t5-base, 12 tokens in, 1 out, 2 threads, Xeon",
        "",
        "|  | 2026-11-30 |",
        "| --- | --: |",
        "| ours | 50.0 |",
        "",
        "### t5-base, 12 tokens in, 1 out, 2 threads, Zen",
        "",
        "|  | 2026-11-30 | 2026-12-02 |",
        "| --- | --: | --: |",
        "| ours | 40.2 | 30.0 |",
        "| new |  | 7.0 |",
    ]


def bench_options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    peers.add_arguments(parser)
    return parser.parse_args(arguments)
