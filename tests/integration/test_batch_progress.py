"""What `t5serve batch` says while it runs, when it is stopped, and when it goes on."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.scripted_service import ScriptedService, result, serve
from t5serve.commands.batch.progress import Progress
from t5serve.errors import ServerFault

ROWS = 96  # three requests; two at a time


class Clock:
    """Tells the time that a test has set, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A terminal as far as a bar is concerned."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def heeds_ctrl_c() -> Iterator[None]:
    """A process inherits that SIGINT is ignored, as it is where a shell runs tests behind `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start(source: Path, out: Path, service: ScriptedService) -> subprocess.Popen[str]:
    """Starts the command."""
    command = [sys.executable, "-m", "t5serve", "batch", str(source), "-o", str(out)]
    return subprocess.Popen(
        [*command, "--url", service.url, "--resume"],
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_stopped_job_says_how_to_continue(tmp_path: Path) -> None:
    """Ctrl-C says how many rows are done; --resume says where it goes on, and asks no row again."""
    source, out = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("".join(f"query {number}\n" for number in range(ROWS)))
    released = threading.Event()

    def answer_some(query: str) -> dict[str, Any]:
        if query.startswith("query ") and int(query.split()[1]) >= 32:
            released.wait(60)
        return result(query)

    with serve() as service:
        service.results = answer_some
        with start(source, out, service) as process:
            while len(service.requests) < 4:  # the last is sent when 32 rows are written
                assert process.poll() is None
                threading.Event().wait(0.02)
            process.send_signal(signal.SIGINT)
            _, stopped = process.communicate(timeout=60)
        released.set()
        assert process.returncode == 130
        assert stopped.splitlines() == [
            "t5serve: stopped after 32 of 96 rows; the same command with --resume continues",
        ]
        service.requests.clear()
        with start(source, out, service) as process:
            _, resumed = process.communicate(timeout=60)
        asked = [query for request in service.requests for query in request["queries"]]
    assert process.returncode == 0
    first, rate, last = resumed.splitlines()
    assert first == "t5serve: continues after 32 of 96 rows"
    assert rate.startswith("t5serve: 96 of 96 rows, ")
    assert last == f"t5serve: 96 rows in {out}"
    assert sorted(asked[1:]) == sorted(f"query {number}" for number in range(32, ROWS))
    written = [json.loads(line)["original"] for line in out.read_text().splitlines()]
    assert written == [f"query {number}" for number in range(ROWS)]


def stop(progress: Progress, error: BaseException) -> None:
    """Does three rows, and ends with an error."""
    with progress:
        progress.add(3)
        raise error


def test_lines_have_rate_and_time_left() -> None:
    """The first line comes soon, later ones are rare; only rows of this run make the rate."""
    clock, file = Clock(), io.StringIO()
    with Progress(1_000, 400, file, clock) as progress:
        for seconds in range(1, 61):
            clock.now = seconds
            progress.add(10)
    assert file.getvalue().splitlines() == [
        "t5serve: continues after 400 of 1,000 rows",
        "t5serve: 450 of 1,000 rows, 10 a second, 00:55 left",
        "t5serve: 750 of 1,000 rows, 10 a second, 00:25 left",
        "t5serve: 1,000 of 1,000 rows, 10 a second, in 01:00",
    ]


def test_a_slow_job_has_a_rate_too() -> None:
    """Less than one row a second is not none."""
    clock = Clock()
    progress = Progress(100, 0, io.StringIO(), clock)
    assert progress.text() == "0 of 100 rows, 0.0 a second"
    clock.now = 60
    progress.add(12)
    assert progress.text() == "12 of 100 rows, 0.2 a second, 07:20 left"


@pytest.mark.parametrize(
    ("error", "is_told"),
    [(KeyboardInterrupt(), True), (ServerFault("no answer"), True), (OSError("disk"), False)],
)
def test_a_bar_leaves_the_terminal_to_a_message(error: BaseException, *, is_told: bool) -> None:
    """What ends a job that can go on is followed by how; other errors say so themselves."""
    file = Terminal()
    with pytest.raises(type(error)):
        stop(Progress(10, 0, file, Clock()), error)
    assert "3/10" in file.getvalue()
    stopped = "stopped after 3 of 10 rows; the same command with --resume continues"
    assert file.getvalue().endswith(f"\nt5serve: {stopped}\n") == is_told
