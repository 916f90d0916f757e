"""Workers that die, models that can't be loaded, signals: the service as an operator sees it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from gguf import GGUFWriter

from support.serving import Server, start, stop

BUSY = {"queries": [f"how do i learn python in {i} days" for i in range(30)], "strict": True}


@pytest.fixture
def victim() -> Iterator[Server]:
    """A service of its own for a test that breaks it."""
    running = start(stall_seconds="60")
    running.wait_until_ready()
    yield running
    if running.process.poll() is None:
        stop(running)


def in_background(server: Server, results: list[httpx.Response]) -> threading.Thread:
    def run() -> None:
        with server.client() as client:
            results.append(client.post("/v1/reformulate", json=BUSY))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def stopped_with_a_request(server: Server) -> tuple[int, threading.Thread, list[httpx.Response]]:
    """A worker that stands still in the middle of a request, as it were."""
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    results: list[httpx.Response] = []
    thread = in_background(server, results)
    time.sleep(1)  # the request is with the worker long before
    return worker, thread, results


def test_killed_worker_is_replaced_and_its_job_retried(victim: Server) -> None:
    """SIGKILL in the middle of a request: the request is answered in full, the service recovers."""
    worker, thread, results = stopped_with_a_request(victim)
    os.kill(worker, signal.SIGKILL)
    thread.join()
    assert results[0].status_code == 200
    assert len(results[0].json()["results"]) == 30
    victim.wait_until_ready()
    assert victim.workers() != [worker]
    assert "was ended by Killed (signal 9)" in stop(victim)


def test_readyz_tells_of_the_restart(victim: Server) -> None:
    """While no worker is ready: 503 with a reason, for strict requests too; others fall back."""
    (worker,) = victim.workers()
    os.kill(worker, signal.SIGKILL)
    refused, reasons = [], []
    deadline = time.monotonic() + 30
    with victim.client() as client:
        while time.monotonic() < deadline:
            ready = client.get("/readyz")
            strict = client.post("/v1/reformulate", json={"query": "x", "strict": True})
            if ready.status_code == 503:
                reasons.append(ready.json()["error"]["message"])
            if strict.status_code == 503:
                refused.append(strict)
                fallback = client.post("/v1/reformulate", json={"query": "x"})
                assert fallback.status_code == 200
            if refused and ready.status_code == strict.status_code == 200:
                break
            time.sleep(0.01)
    assert "the service is restarting" in reasons
    assert refused[0].json()["error"]["code"] == "not_ready"
    assert refused[0].headers["retry-after"]


def test_sigterm_finishes_what_runs(victim: Server) -> None:
    """A request that is being answered when SIGTERM comes is answered; then the service ends."""
    worker, thread, results = stopped_with_a_request(victim)
    victim.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert not results
    os.kill(worker, signal.SIGCONT)
    thread.join()
    assert results[0].status_code == 200
    assert len(results[0].json()["results"]) == 30
    assert "Traceback" not in victim.wait()


def test_ctrl_c_ends_it_without_a_traceback(victim: Server) -> None:
    """SIGINT is how a person ends it."""
    victim.process.send_signal(signal.SIGINT)
    assert "Traceback" not in victim.wait()


def test_client_that_leaves_frees_its_place(victim: Server) -> None:
    """What a client asked for that has left is not decoded, and does not keep others waiting."""
    worker, thread, results = stopped_with_a_request(victim)
    del thread, results
    with victim.client() as client, contextlib.suppress(httpx.TimeoutException):
        client.post("/v1/reformulate", json=BUSY, timeout=0.5)
    os.kill(worker, signal.SIGCONT)
    with victim.client() as client:
        answer = client.post("/v1/reformulate", json={"query": "who is next", "strict": True})
    assert answer.status_code == 200
    assert "Traceback" not in stop(victim)


def test_no_worker_outlives_its_service(victim: Server) -> None:
    """A service that is killed takes its workers along."""
    (worker,) = victim.workers()
    victim.process.kill()
    victim.wait()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{worker}").exists()


def test_idle_service_uses_no_cpu(victim: Server) -> None:
    """Threads that wait for work do not spin."""
    with victim.client() as client:
        client.post("/v1/reformulate", json={"query": "wake up"})
    time.sleep(0.5)

    def ticks() -> int:
        pids = [victim.process.pid, *victim.workers()]
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
        return sum(int(f[11]) + int(f[12]) for f in fields)

    before = ticks()
    time.sleep(1)
    assert ticks() - before <= 10  # of the 100 ticks that a second of one core has


def another_architecture(path: Path) -> None:
    writer = GGUFWriter(path, "t5encoder")
    writer.add_tensor("x", np.zeros(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def no_model_at_all(path: Path) -> None:
    path.write_text("hello")


def nothing(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("make", [another_architecture, no_model_at_all, nothing])
def test_a_wrong_model_is_one_line(tmp_path: Path, make: object) -> None:
    """No traceback, no abort: one line on standard error names the file, and status 1."""
    path = tmp_path / "wrong.gguf"
    assert callable(make)
    make(path)
    assert_one_line(start(model=str(path)), path)


@pytest.mark.parametrize("size", [3, 100, 5000, 300_000, 9_000_000])
def test_a_truncated_model_is_one_line(tmp_path: Path, embedded: Path, size: int) -> None:
    """Wherever the file ends: inside the header, the vocabulary or the tensors."""
    path = tmp_path / "truncated.gguf"
    path.write_bytes(embedded.read_bytes()[:size])
    assert_one_line(start(model=str(path)), path)


def test_a_missing_model_is_one_line(tmp_path: Path) -> None:
    """The commonest mistake."""
    path = tmp_path / "missing.gguf"
    assert_one_line(start(model=str(path)), path)


def assert_one_line(server: Server, path: Path) -> None:
    stderr = server.wait()
    assert server.process.returncode == 1
    *before, last = stderr.strip().splitlines()
    assert last.startswith(f"t5serve: {path}")
    assert "Traceback" not in stderr
    assert not [line for line in before if "[info " not in line]


def test_a_wrong_setting_is_one_line() -> None:
    """The variable is named with what is wrong with it."""
    server = start(workers="0")
    stderr = server.wait()
    assert server.process.returncode == 1
    assert stderr.strip().splitlines() == [
        "t5serve: T5SERVE_WORKERS: '0' is not valid; expected an integer, at least 1"
    ]


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_hung_worker_is_replaced(*, is_busy: bool) -> None:
    """A worker that is stopped, idle or not, is replaced within seconds; its job is answered."""
    server = start()
    server.wait_until_ready()
    if is_busy:
        worker, thread, results = stopped_with_a_request(server)
        thread.join()
        assert results[0].status_code == 200
    else:
        (worker,) = server.workers()
        os.kill(worker, signal.SIGSTOP)
        deadline = time.monotonic() + 30
        while server.workers() in ([worker], []) and time.monotonic() < deadline:
            time.sleep(0.02)
        server.wait_until_ready()
    assert server.workers() != [worker]
    assert "has said nothing for" in stop(server)


def test_many_deaths() -> None:
    """A service whose worker dies again and again answers in between."""
    server = start()
    with server.client() as client:
        for _ in range(5):
            server.wait_until_ready()
            answer = client.post("/v1/reformulate", json={"query": "learn python", "strict": True})
            assert answer.status_code == 200
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            while server.workers() == [worker]:
                time.sleep(0.01)
        server.wait_until_ready()
    stop(server)


def test_a_model_file_that_changes(tmp_path: Path, embedded: Path) -> None:
    """A worker is not restarted on another file; a copy of the first one will do."""
    file = tmp_path / "model.gguf"
    shutil.copyfile(embedded, file)
    server = start(model=str(file))
    server.wait_until_ready()

    def replace(content: bytes) -> None:
        other = tmp_path / "other.gguf"
        other.write_bytes(content)
        other.replace(file)
        os.kill(server.workers()[0], signal.SIGKILL)

    original = embedded.read_bytes()
    replace(original)
    while server.is_ready():
        time.sleep(0.01)
    server.wait_until_ready()
    replace(original + b"changed")
    while server.is_ready():
        time.sleep(0.01)
    time.sleep(3)
    assert not server.is_ready()
    file.write_bytes(original)
    server.wait_until_ready()
    assert f"{file} is another file now" in stop(server)
