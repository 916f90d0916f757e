"""Too many requests, too little time, clients that leave, workers that die."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from support.overloading import busy, metric, standing_still, wait_for
from support.serving import NO_TLS, Server, start, stop
from t5serve.errors import NotReady, QueueFull, RequestError
from t5serve.http.responses import error_response

Json = dict[str, Any]
PLAIN: Json = {"model": "tiny-t5", "prompt": "how do i learn python"}
LONG: Json = {**PLAIN, "n": 16, "max_tokens": 128, "temperature": 2, "logit_bias": {"1": -100}}
CHAT: Json = {
    "model": "tiny-t5",
    "messages": [{"role": "user", "content": "learn python"}],
    "task": "paraphrase",
    "n": 8,  # so many sequences that no other request runs beside them
}
STRICT: Json = {
    "query": "how do i learn python",
    "task": "paraphrase",
    "num_beams": 8,
    "strict": True,
}
ASKED = [("/v1/completions", PLAIN), ("/v1/chat/completions", CHAT), ("/v1/reformulate", STRICT)]


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """A service that decodes one input at a time while two may wait."""
    server = start(
        max_batch="1",
        max_queue="2",
        max_queries="2",
        max_request_tokens="2500",
        threads="1",
        timeout_ms="60000",
        stall_seconds="60",
    )
    yield server
    assert "Traceback" not in stop(server)


@pytest.fixture
def small(running: Server) -> Server:
    """It, ready and idle."""
    running.wait_until_ready()
    wait_for(lambda: busy(running) == (0, 0))
    return running


def sdk(server: Server, max_retries: int = 0) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=max_retries)


def test_a_full_queue_refuses_at_once(small: Server) -> None:
    """While nothing moves, what was accepted waits, what is refused does not; then all is done."""
    with ThreadPoolExecutor(3) as pool, small.client() as client:

        def post(path: str, body: Json) -> httpx.Response:
            return client.post(path, json=body)

        with standing_still(small):
            accepted = [pool.submit(post, *ASKED[0])]
            wait_for(lambda: busy(small) == (1, 0))  # a narrow one may start beside a wide one
            accepted += [pool.submit(post, *ASKED[i]) for i in (1, 2)]
            wait_for(lambda: busy(small) == (1, 2))
            # Answered at all is answered without waiting: the worker stands still.
            for path, body in ASKED * 3:
                for refused in (post(path, body), post(path, {**body, "stream": True})):
                    assert refused.status_code == 429
                    assert refused.headers["retry-after"] == "1"
                    assert refused.json()["error"]["code"] == "queue_full"
            (result,) = post("/v1/reformulate", {**STRICT, "strict": False}).json()["results"]
            assert (result["fallback_reason"], result["queries"]) == (
                "queue_full",
                [STRICT["query"]],
            )
            with sdk(small) as one, pytest.raises(openai.RateLimitError):
                one.completions.create(**PLAIN)
            assert not any(one.done() for one in accepted)
        assert [one.result().status_code for one in accepted] == [200] * 3


def test_a_request_is_taken_whole_or_not(small: Server) -> None:
    """Of two prompts with one place left, none is begun."""
    with ThreadPoolExecutor(2) as pool, small.client() as client:
        with standing_still(small):
            accepted = [pool.submit(client.post, "/v1/completions", json=PLAIN) for _ in range(2)]
            wait_for(lambda: busy(small) == (1, 1))
            two = {**PLAIN, "prompt": ["a", "b"]}
            assert client.post("/v1/completions", json=two).status_code == 429
            assert busy(small) == (1, 1)
        assert [one.result().status_code for one in accepted] == [200] * 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {**PLAIN, "n": 16, "max_tokens": 128, "prompt": ["a", "b"]}),
        ("/v1/completions", {**PLAIN, "best_of": 20, "max_tokens": 128}),
        ("/v1/reformulate", {"queries": ["a", "b"], "n": 16, "max_tokens": 128}),
    ],
)
def test_one_budget(small: Server, path: str, body: Json) -> None:
    """Inputs x sequences x tokens: a request for more is refused, whatever the load."""
    with small.client() as client:
        refused = client.post(path, json=body)
    assert refused.status_code == 400
    assert "at most 2500" in refused.json()["error"]["message"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("path", "body"), ASKED)
def test_a_client_that_leaves_a_queue(
    small: Server, path: str, body: Json, *, streamed: bool
) -> None:
    """Its place is free at once, its job is over when the worker moves."""
    with standing_still(small):
        gone = leave(small, path, {**body, "stream": streamed}, until=(1, 0))
        waiting = leave(small, path, {**body, "stream": streamed}, until=(1, 1))
        waiting.close()
        wait_for(lambda: busy(small) == (1, 0))
        gone.close()
    wait_for(lambda: busy(small) == (0, 0))


def leave(
    server: Server, path: str, body: Json, until: tuple[int, int]
) -> http.client.HTTPConnection:
    """A connection whose request is under way."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.request("POST", path, json.dumps(body))
    wait_for(lambda: busy(server) == until)
    return connection


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_ends_decoding(small: Server, *, streamed: bool) -> None:
    """Its place is free again; that it is so after one step is the worker's own test."""
    connection = leave(small, "/v1/completions", {**LONG, "stream": streamed}, until=(1, 0))
    if streamed:
        assert connection.getresponse().read(100)
    connection.close()
    wait_for(lambda: busy(small) == (0, 0))
    assert metric(small, 't5serve_requests_total{route="/v1/completions",status="500"}') == 0


@pytest.fixture
def loading() -> Iterator[Server]:
    """A service of 1 s a request that has only just begun to load its model."""
    server = start(timeout_ms="1000", stall_seconds="60")
    wait_for(lambda: any(map(is_worker, server.workers())))
    yield server
    stop(server)


def is_worker(pid: int) -> bool:
    """Whether a child runs its own program yet: until then a stopped child stops its parent."""
    return b"t5engine.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_not_ready_and_too_late(loading: Server) -> None:
    """503 while the model is loaded; 504 at the deadline, also of a stream that has not begun."""
    with standing_still(loading):
        wait_for(lambda: httpx.get(f"{loading.url}/healthz", verify=NO_TLS).is_success)
        with sdk(loading) as client:
            for path, body in ASKED:
                refused = httpx.post(f"{loading.url}{path}", json=body)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json()["error"]["code"] == "not_ready"
            assert httpx.get(f"{loading.url}/readyz", verify=NO_TLS).status_code == 503
            with pytest.raises(openai.InternalServerError, match="loading"):
                client.completions.create(**PLAIN)
    loading.wait_until_ready()
    with standing_still(loading), sdk(loading) as client:
        for path, body in ASKED:
            late = httpx.post(f"{loading.url}{path}", json={**body, "stream": True}, timeout=30)
            assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        with pytest.raises(openai.InternalServerError, match="deadline"):
            client.completions.create(**PLAIN)
    wait_for(lambda: busy(loading) == (0, 0))


def test_a_worker_killed_mid_stream(small: Server) -> None:
    """The SDK raises its APIError, and the next request is answered."""
    with sdk(small, max_retries=5) as client:
        stream = client.completions.create(**{**LONG, "stream": True})
        next(stream)
        (worker,) = small.workers()
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(openai.APIError, match="worker process ended") as raised:
            list(stream)
        assert raised.type is openai.APIError
        assert raised.value.body["type"] == "server_error"  # type: ignore[index]
        assert client.completions.create(**PLAIN).choices


class Stub(http.server.BaseHTTPRequestHandler):
    """Refuses as the service does, for as often as it is told, then gives its answer."""

    refusals: list[RequestError]
    times: list[float]
    answer: bytes

    def do_POST(self) -> None:
        self.times.append(time.monotonic())
        self.rfile.read(int(self.headers["content-length"]))
        status, headers, body = 200, [(b"content-type", b"application/json")], self.answer
        if self.refusals:
            refusal = error_response(self.refusals.pop(0))
            status, headers, body = refusal.status_code, refusal.raw_headers, bytes(refusal.body)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name.decode(), value.decode())
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Silently."""


@pytest.mark.parametrize("refusal", [QueueFull("full"), NotReady("restarting")])
def test_retries_wait_as_long_as_told(small: Server, refusal: RequestError) -> None:
    """Retry-After is a second; left to itself the SDK would wait half of that."""
    with small.client() as client:
        Stub.answer = client.post("/v1/completions", json=PLAIN).content
    Stub.refusals, Stub.times = [refusal], []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        with OpenAI(base_url=url, api_key="none", max_retries=1) as one:
            assert one.completions.create(**PLAIN).choices
        server.shutdown()
    first, second = Stub.times
    assert second - first >= 0.95


def test_retries_get_through(small: Server) -> None:
    """A client that is refused and comes back is answered once there is room."""
    with ThreadPoolExecutor(4) as pool, small.client() as client, sdk(small, 9) as patient:
        with standing_still(small):
            accepted = [pool.submit(client.post, "/v1/completions", json=PLAIN) for _ in range(3)]
            wait_for(lambda: busy(small) == (1, 2))
            counted = 't5serve_requests_total{route="/v1/completions",status="429"}'
            before = metric(small, counted)
            patience = pool.submit(lambda: patient.completions.create(**PLAIN))
            wait_for(lambda: metric(small, counted) > before)
        assert patience.result().choices
        assert [one.result().status_code for one in accepted] == [200] * 3
