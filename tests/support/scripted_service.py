"""A service over real sockets that answers as a test has written down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """One answer: a status, headers, and a body; without a body the results of the queries."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    hangs_seconds: float = 0.0
    closes: bool = False


def error(status: int, code: str | None, **headers: str) -> Answer:
    """Returns an answer with an error of the service."""
    content = {"error": {"message": "as written", "type": "t", "param": None, "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps(content).encode())


def result(query: str) -> dict[str, Any]:
    """Returns the result of a query: the query in capitals."""
    text = query.upper()
    candidate = {"text": text, "score": -0.5, "model_score": -0.5, "rank": 1, "tokens": 3}
    return {
        "original": query,
        "queries": [text],
        "reformulations": [{**candidate, "source": "model"}],
        "changed": True,
        "unchanged_reason": None,
        "fallback": False,
        "fallback_reason": None,
        "cached": False,
    }


@dataclass
class ScriptedService:
    """A running service.

    Attributes:
        script: the answers to come, in order; afterwards every query is in capitals.
        results: returns the result of a query.
        requests: the bodies of the requests so far, with the headers as `headers` and the time as
            `at`.
    """

    url: str
    script: list[Answer]
    results: Callable[[str], dict[str, Any]] = result
    requests: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def serve(*script: Answer) -> Iterator[ScriptedService]:
    """Runs a service with a script."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked = {**body, "headers": dict(self.headers), "at": time.monotonic()}
            service.requests.append(asked)
            answer = service.script.pop(0) if service.script else Answer()
            time.sleep(answer.hangs_seconds)
            if answer.closes:
                self.close_connection = True
                return
            content = answer.body
            if content is None:
                results = [service.results(query) for query in body["queries"]]
                content = json.dumps({"id": "r", "model": "m", "results": results}).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            with suppress(ConnectionError):  # the client does not wait any more
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service = ScriptedService(f"http://127.0.0.1:{server.server_port}", list(script))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
