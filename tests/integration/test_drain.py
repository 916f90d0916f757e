"""What the end of the drain cuts off, by the real process whose worker hangs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from support.raw import RawConnection
from support.serving import NO_TLS, Server, start

QUERY = "how do i learn python"
DRAIN_SECONDS = 2


@pytest.fixture
def hung() -> Iterator[Server]:
    """A service with a short drain, whose worker is stopped."""
    server = start(drain_seconds=f"{DRAIN_SECONDS}", stall_seconds="600", timeout_ms="60000")
    server.wait_until_ready()
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)


def running(server: Server) -> float:
    lines = httpx.get(f"{server.url}/metrics", verify=NO_TLS).text.splitlines()
    names = ("t5serve_running{", "t5serve_queue_depth{")
    return sum(float(line.split()[1]) for line in lines if line.startswith(names))


def test_what_the_drain_cuts_off_is_answered(hung: Server) -> None:
    """Each request has the contract's answer, and the service ends without a traceback."""

    def post(path: str, **body: object) -> httpx.Response:
        with hung.client() as client:
            return client.post(path, json=body)

    prompt = {"model": "tiny-t5", "prompt": QUERY}
    with ThreadPoolExecutor(5) as pool, RawConnection(hung) as slow:
        slow.send(b"POST /v1/reformulate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
        plain = pool.submit(post, "/v1/reformulate", query=QUERY)
        strict = pool.submit(post, "/v1/reformulate", query=QUERY, strict=True)
        stream = pool.submit(post, "/v1/reformulate", query=QUERY, n=1, stream=True)
        completion = pool.submit(post, "/v1/completions", **prompt)
        completions = pool.submit(post, "/v1/completions", stream=True, **prompt)
        while running(hung) < 5:
            time.sleep(0.02)
        started = time.monotonic()
        hung.process.send_signal(signal.SIGTERM)
        (result,) = plain.result().json()["results"]
        assert (result["queries"], result["fallback_reason"]) == ([QUERY], "not_ready")
        assert "event: done" in stream.result().text
        for refused in (strict, completion, completions):
            assert refused.result().status_code == 503
            assert refused.result().json()["error"]["code"] == "not_ready"
        answer = slow.receive()
        assert answer.status == 503
        assert json.loads(answer.body)["error"]["code"] == "not_ready"
    log = hung.wait()
    assert hung.process.returncode == -signal.SIGTERM
    assert "Traceback" not in log
    # One budget, not one for each of connections and jobs, and a worker's: far below two.
    assert time.monotonic() - started < 10 * DRAIN_SECONDS


def test_a_stream_that_the_drain_cuts_off() -> None:
    """Text that has been sent can't be replaced: the stream ends with an error."""
    server = start(drain_seconds="1", stall_seconds="600", timeout_ms="60000")
    server.wait_until_ready()
    (worker,) = server.workers()
    body = {"model": "tiny-t5", "prompt": QUERY, "stream": True, "max_tokens": 128, "n": 16}
    body |= {"temperature": 2, "logit_bias": {"1": -100}}
    with (
        server.client() as client,
        client.stream("POST", "/v1/completions", json=body) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        os.kill(worker, signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        events = [line for line in lines if line]
    assert "not_ready" in events[-1]
    assert "[DONE]" not in events[-1]
    assert "Traceback" not in server.wait()
