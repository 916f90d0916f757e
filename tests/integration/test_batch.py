"""`t5serve batch` as a user's shell runs it: rows, bad rows, kills, shards, services."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from load.batch import measure, measure_with_service
from support.scripted_service import Answer, error, result, serve
from support.serving import Server, free_port

GREEDY = ("--strategy", "greedy")
BAD_LINES = {
    4: ("malformed", b'{"id": 1, "query": "a"}'),
    5: ("invalid_request", b'""'),
    6: ("invalid_utf8", b'"caf\xe9"'),
    7: ("malformed", b""),
    8: ("context_length_exceeded", json.dumps("how do you say the word " * 400).encode()),
    9: ("malformed", b'"' + b"a" * 1_100_000 + b'"'),
}
GOOD_LINES = [
    b'\xef\xbb\xbf{"id": "x", "text": "how do i clean a laptop screen"}',
    b'"what is a black hole"\r',
    b'{"id": 7, "text": "how do i clean a laptop screen"}',
]


def batch(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {f"T5SERVE_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "t5serve", "batch", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **environment},
    )


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def errors(path: Path) -> list[dict[str, Any]]:
    return rows(path.with_name(f"{path.name}.errors.jsonl"))


def write(path: Path, queries: list[str]) -> Path:
    path.write_text("".join(f"{json.dumps(query)}\n" for query in queries))
    return path


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file with good lines and one of each kind of bad lines."""
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b"\n".join([*GOOD_LINES, *(line for _, line in BAD_LINES.values()), b'"a"']))
    return path


def test_rows_are_the_results_of_the_service(mixed: Path, server: Server) -> None:
    """A row for each good line, in order, with what /v1/reformulate says; the others beside."""
    out = mixed.with_name("out.jsonl")
    ran = batch(mixed, "--output", out)
    assert ran.returncode == 0, ran.stderr
    assert "4 rows in " in ran.stderr
    assert "6 bad rows in " in ran.stderr
    written = rows(out)
    assert [row.pop("id") for row in written] == ["x", "2", "7", "10"]
    with server.client() as client:
        queries = [row["original"] for row in written]
        results = client.post("/v1/reformulate", json={"queries": queries}).json()["results"]
    for one in results:
        del one["cached"]
    assert written == results
    assert {row["line"]: row["code"] for row in errors(out)} == {
        number: code for number, (code, _) in BAD_LINES.items()
    }
    assert all(row["message"] for row in errors(out))
    assert sorted(path.name for path in out.parent.iterdir()) == [
        *("mixed.jsonl", "out.jsonl", "out.jsonl.errors.jsonl"),
    ]


def test_a_service_gives_the_same_bytes(mixed: Path, server: Server) -> None:
    """With --url rows and bad rows are those of the model that is loaded here."""
    here, there = mixed.with_name("here.jsonl"), mixed.with_name("there.jsonl")
    assert batch(mixed, "-o", here, *GREEDY).returncode == 0
    ran = batch(mixed, "-o", there, *GREEDY, "--url", server.url)
    assert ran.returncode == 0, ran.stderr
    assert here.read_bytes() == there.read_bytes()
    assert [row["code"] for row in errors(here)] == [row["code"] for row in errors(there)]


def test_shards_are_parts_of_the_whole(mixed: Path) -> None:
    """The outputs of all shards, one after another, are the output without shards."""
    whole = mixed.with_name("whole.jsonl")
    parts = [mixed.with_name(f"part-{index}.jsonl") for index in range(1, 4)]
    assert batch(mixed, "-o", whole, *GREEDY).returncode == 0
    for index, part in enumerate(parts, 1):
        assert batch(mixed, "-o", part, *GREEDY, "--shard", f"{index}/3").returncode == 0
    assert b"".join(part.read_bytes() for part in parts) == whole.read_bytes()
    found = [
        row
        for part in parts
        if part.with_name(f"{part.name}.errors.jsonl").exists()
        for row in errors(part)
    ]
    assert found == errors(whole)


def test_tsv_has_the_id_and_each_query(tmp_path: Path) -> None:
    """A line of TSV for each line of TSV; ids and duplicates are kept."""
    source, out = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_text("q1\thow do i clean a laptop screen\nwhat is a black hole\na\tb\tc\n")
    assert batch(source, "-o", out, "--task", "paraphrase", "-n", "2").returncode == 0
    lines = [line.split("\t") for line in out.read_text().splitlines()]
    assert [line[0] for line in lines] == ["q1", "2"]
    assert len(lines[0]) == 3
    assert errors(out)[0]["message"] == "more than two columns; expected id<TAB>query"


def test_parquet_in_and_out(tmp_path: Path) -> None:
    """Columns by name, ids kept, null and blank queries beside; equal to the rows of JSON."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    queries = ["how do i clean a laptop screen", None, "what is a black hole", " "] * 3
    table = pa.table({"number": list(range(12)), "question": queries})
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    parquet.write_table(table, source, row_group_size=5)
    columns = ("--column", "question", "--id-column", "number")
    ran = batch(source, "-o", out, *GREEDY, *columns)
    assert ran.returncode == 0, ran.stderr
    as_json = tmp_path / "out.jsonl"
    assert batch(source, "-o", as_json, *GREEDY, *columns).returncode == 0
    assert parquet.read_table(out).to_pylist() == rows(as_json)
    assert [row["id"] for row in rows(as_json)] == ["0", "2", "4", "6", "8", "10"]
    assert [row["line"] for row in errors(out)] == [2, 4, 6, 8, 10, 12]
    parts = [tmp_path / f"part-{index}.jsonl" for index in (1, 2)]
    for index, part in enumerate(parts, 1):
        assert batch(source, "-o", part, *GREEDY, *columns, "--shard", f"{index}/2").returncode == 0
    assert b"".join(part.read_bytes() for part in parts) == as_json.read_bytes()
    ran = batch(source, "-o", out, "--force")
    assert ran.stderr.startswith(f"t5serve: {source} has no column text or query; its columns are")
    assert (
        "number has int64, not strings"
        in batch(*(source, "-o", out, "--force", "--column", "number")).stderr
    )


def test_parquet_continues_in_the_middle(tmp_path: Path) -> None:
    """Rows from any position on are those that come after it, over the ends of row groups."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    from t5serve.commands.batch.parquet import ParquetFile
    from t5serve.commands.batch.rows import Position, Shard

    path = tmp_path / "in.parquet"
    parquet.write_table(pa.table({"text": [f"a {i}" for i in range(23)]}), path, row_group_size=7)
    source = ParquetFile(path, None, None, Shard())
    items = list(source.read(source.start))
    assert len(items) == source.total == 23
    for offset in range(24):
        assert list(source.read(Position(offset, offset))) == items[offset:]


def test_duplicates_are_asked_once(tmp_path: Path) -> None:
    """Each distinct query goes to the service once, wherever its duplicates are."""
    queries = [f"a dog {number % 50}" for number in range(30_000)]
    asked: list[str] = []
    source, out = write(tmp_path / "in.jsonl", queries), tmp_path / "out.jsonl"

    def keep(query: str) -> dict[str, Any]:
        asked.append(query)
        return result(query)

    with serve() as service:
        service.results = keep
        ran = batch(source, "-o", out, "--url", service.url)
    assert ran.returncode == 0, ran.stderr
    assert sorted(asked[1:]) == sorted(set(queries))  # the first is a probe
    assert [row["queries"] for row in rows(out)] == [[query.upper()] for query in queries]


@pytest.mark.slow
def test_kills_change_nothing(tmp_path: Path) -> None:
    """A job that is killed twice ends with the bytes of one that was not disturbed."""
    found = measure_with_service(tmp_path, lines=40_000, distinct=14_000, kills=2)
    assert found.is_equal
    assert found.is_complete
    assert (found.rows, found.bad) == (39_960, 40)
    assert found.most_kb - found.first_kb < 200 * 1024


@pytest.mark.slow
def test_kills_change_nothing_with_the_included_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with the model in the command's own worker.

    One worker alone, for files grow every 2 s: several could be done before there is a kill.
    """
    monkeypatch.setenv("T5SERVE_WORKERS", "1")
    found = measure(tmp_path, 3000, 3000, 1, ["--strategy", "greedy"])
    assert found.is_equal
    assert found.is_complete


def test_trouble_that_passes_is_waited_for(tmp_path: Path) -> None:
    """Overload and restarts cost time, not rows: a fallback for their sake is asked again."""
    source, out = write(tmp_path / "in.jsonl", ["a dog", "a cat"]), tmp_path / "out.jsonl"
    busy = {**result("a cat"), "queries": ["a cat"], "fallback": True}
    answers = [{**busy, "fallback_reason": reason} for reason in ("queue_full", "not_ready")]

    def answer(query: str) -> dict[str, Any]:
        return answers.pop(0) if query == "a cat" and answers else result(query)

    with serve(Answer(), error(503, "not_ready", retry_after="1"), Answer(closes=True)) as service:
        service.results = answer
        ran = batch(source, "-o", out, "--url", service.url)
    assert ran.returncode == 0, ran.stderr
    assert [row["queries"] for row in rows(out)] == [["A DOG"], ["A CAT"]]
    assert not out.with_name("out.jsonl.errors.jsonl").exists()


def test_queries_that_fail_are_bad_rows(tmp_path: Path) -> None:
    """A query that the service can't answer is reported; without usable text it is kept."""
    reasons = ["no_usable_output", "input_quarantined", "server_error", "deadline_exceeded"]
    source = write(tmp_path / "in.jsonl", [*reasons, "a dog"])
    whole, strict = tmp_path / "whole.jsonl", tmp_path / "strict.jsonl"

    def answer(query: str) -> dict[str, Any]:
        failed = {"queries": [query], "fallback": True, "fallback_reason": query}
        return {**result(query), **(failed if query in reasons else {})}

    with serve() as service:
        service.results = answer
        assert batch(source, "-o", whole, "--url", service.url).returncode == 0
        assert batch(source, "-o", strict, "--strict", "--url", service.url).returncode == 0
    assert [row["id"] for row in rows(whole)] == ["1", "5"]
    assert [row["code"] for row in errors(whole)] == reasons[1:]
    assert [row["id"] for row in rows(strict)] == ["5"]
    assert [row["code"] for row in errors(strict)] == reasons


def test_a_service_that_refuses_ends_it(tmp_path: Path, server: Server) -> None:
    """A wrong option or key is one line, before anything is written."""
    source, out = write(tmp_path / "in.jsonl", ["a dog"]), tmp_path / "out.jsonl"
    with serve(error(401, "invalid_api_key")) as service:
        ran = batch(source, "-o", out, "--url", service.url)
    assert (ran.returncode, ran.stderr) == (1, "t5serve: as written\n")
    ran = batch(source, "-o", out, "--url", server.url, "--task", "translate")
    assert ran.returncode == 1
    assert "no task 'translate'" in ran.stderr
    assert not out.exists()


def test_an_output_is_not_overwritten(tmp_path: Path) -> None:
    """An output stays as it is unless --force; --resume of a complete job is done at once."""
    source, out = write(tmp_path / "in.jsonl", ["a dog"]), tmp_path / "out.jsonl"
    out.write_text("mine")
    with serve() as service:
        url = ("--url", service.url)
        ran = batch(source, "-o", out, *url)
        assert (ran.returncode, ran.stderr) == (1, f"t5serve: {out} exists; --force replaces it\n")
        assert batch(source, "-o", out, *url, "--resume").returncode == 0
        assert out.read_text() == "mine"
        assert batch(source, "-o", out, *url, "--force").returncode == 0
    assert rows(out)[0]["queries"] == ["A DOG"]


def test_an_unfinished_job_is_not_mixed_with_another(tmp_path: Path) -> None:
    """What a stopped job has left is continued by the same job only."""
    source, out = write(tmp_path / "in.jsonl", ["a dog", "a cat"]), tmp_path / "out.jsonl"
    hanging = [Answer(), Answer(hangs_seconds=60)]
    with serve(*hanging) as service:
        url = ("--url", service.url)
        with subprocess.Popen(
            [sys.executable, "-m", "t5serve", "batch", str(source), "-o", str(out), *url],
            stderr=subprocess.DEVNULL,
        ) as process:
            while len(service.requests) < 2:
                threading.Event().wait(0.05)
            ran = batch(source, "-o", out, *url, "--resume")
            assert "another process seems to write" in ran.stderr
            process.kill()
        assert "--resume continues it" in batch(source, "-o", out, *url).stderr
        ran = batch(source, "-o", out, *url, "--resume", "-n", "2")
        assert "is of a job with another n; --resume needs the same command" in ran.stderr
        other = write(tmp_path / "other.jsonl", ["a dog"])
        ran = batch(other, "-o", out, *url, "--resume", "--seed", "1")
        assert "with another input, seed; " in ran.stderr
        ran = batch(source, "-o", out, *url, "--resume")
        assert ran.returncode == 0, ran.stderr
    assert [row["queries"] for row in rows(out)] == [["A DOG"], ["A CAT"]]


def test_a_kill_before_the_last_step_is_mended(tmp_path: Path) -> None:
    """Where a complete job was killed before its files had their names, --resume names them."""
    from t5serve.commands.batch.journal import Journal, Paths
    from t5serve.commands.batch.rows import Position

    source, out = write(tmp_path / "in.jsonl", ["a dog"]), tmp_path / "out.jsonl"
    with serve(*[Answer(), Answer(hangs_seconds=60)]) as service:
        url = ("--url", service.url)
        with subprocess.Popen(
            [sys.executable, "-m", "t5serve", "batch", str(source), "-o", str(out), *url],
            stderr=subprocess.DEVNULL,
        ) as process:
            while len(service.requests) < 2:
                threading.Event().wait(0.05)
            process.kill()
        paths = Paths(out)
        with sqlite3.connect(paths.journal) as database:
            ((identity,),) = database.execute("SELECT identity FROM job").fetchall()
        database.close()
        journal = Journal(paths, identity, Position(0, 0))
        journal.write_row(b"row ", b"1\n", b"key")
        journal.write_error(b"error\n")
        journal.complete()
        journal.close()
        paths.errors_part.replace(paths.errors)
        assert batch(source, "-o", out, *url, "--resume").returncode == 0
    assert out.read_text() == "row 1\n"
    assert paths.errors.read_text() == "error\n"
    assert not paths.journal.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.jsonl", "-o", "out.jsonl"], "nothing.jsonl: No such file or directory"),
        (["in.csv", "-o", "out.jsonl"], "in.csv: the name must end in one of .jsonl"),
        (["in.jsonl", "-o", "out.txt"], "out.txt: the name must end in .jsonl, .tsv or .parquet"),
        (["in.jsonl", "-o", "out.jsonl", "--column", "a"], "are for Parquet files"),
        (
            ["in.jsonl", "-o", "out.jsonl", "-n", "17"],
            "-n over 16 is for documents: see --format",
        ),
        (["in.jsonl", "-o", "no/out.jsonl"], "no: there is no such directory"),
        (["in.jsonl", "-o", "out.jsonl", "--shard", "3/2"], "invalid parse value: '3/2'"),
    ],
)
def test_what_can_not_be_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    """The error says what is wrong, and nothing is written."""
    write(tmp_path / "in.jsonl", ["a dog"])
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "t5serve",
            "batch",
            *arguments,
            "--url",
            f"http://127.0.0.1:{free_port()}",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode != 0
    assert message in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
