"""This engine over HTTP: the service as a user starts it, asked over one connection."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Literal

from t5bench import environment
from t5bench.contestant import Answer, Running, check_length, tail
from t5bench.errors import BenchError
from t5bench.queries import Query

POLL = 0.002  # seconds
PATIENCE = 120.0
NATIVE = re.compile(rb't5serve_phase_seconds_sum\{phase="(?:encode|decode)"\} (\S+)')

Api = Literal["completions", "reformulate"]


@dataclass(frozen=True)
class OverHttp:
    """The service on a file.

    Attributes:
        name: what tables call it.
        model: the GGUF file.
        threads: of its one worker.
        api: `completions` can be told how long an answer is to be; `reformulate` answers
            as the model ends it.
    """

    name: str
    model: Path
    threads: int
    api: Api = "completions"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Contestant`."""
        return {"threads": self.threads, "api": self.api}

    def renamed(self, name: str) -> OverHttp:
        """See `Contestant`."""
        return replace(self, name=name)

    def start(self) -> Running:
        """See `Contestant`."""
        return Service(self)


class Service:
    """A running service with one client."""

    def __init__(self, contestant: OverHttp) -> None:
        self._name = contestant.name
        self._api = contestant.api
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {
            "T5SERVE_MODEL": str(contestant.model),
            "T5SERVE_THREADS": str(contestant.threads),
            "T5SERVE_TIMEOUT_MS": str(int(1000 * PATIENCE)),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "t5serve", "serve", "--port", str(port)],
            env=environment.inherited(settings),
            stderr=self._log,
        )
        self.pid = self._process.pid
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            self._wait()
            self._model: str = json.loads(self._get("/v1/models"))["data"][0]["id"]
        except BenchError:
            self.close()
            raise

    def ask(self, query: Query, tokens: int, *, fixed: bool = True) -> Answer:
        """See `Running`; the clock runs from the request's first byte to the answer's last."""
        body = json.dumps(self._body(query, tokens, fixed=fixed)).encode()
        before = self._native_seconds()  # which also sees to the connection
        started = time.perf_counter()
        content = self._exchange("POST", f"/v1/{self._api}", body)
        taken = 1000 * (time.perf_counter() - started)
        usage = json.loads(content)["usage"]
        if usage["prompt_tokens"] != len(query.ids):
            raise BenchError(
                f"{self._name} took {query.text!r} for {usage['prompt_tokens']} tokens, "
                f"not {len(query.ids)}"
            )
        check_length(self._name, usage["completion_tokens"], tokens, fixed=fixed)
        return Answer(taken, 1000 * (self._native_seconds() - before))

    def close(self) -> None:
        """See `Running`."""
        self._connection.close()
        with self._log, self._process:
            self._process.send_signal(signal.SIGTERM)

    def _body(self, query: Query, tokens: int, *, fixed: bool) -> dict[str, Any]:
        if self._api == "reformulate":
            return {"query": query.text, "strategy": "greedy", "max_tokens": tokens}
        bias = {"logit_bias": {str(query.ids[-1]): -100}} if fixed else {}  # of `</s>`
        greedy = {"max_tokens": tokens, "temperature": 0}
        return {"model": self._model, "prompt": query.text, **greedy, **bias}

    def _wait(self) -> None:
        """Until it is ready."""
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError, HTTPException, BenchError):
                self._get("/readyz")
                return
            time.sleep(POLL)
        raise BenchError(f"{self._name} is not ready: {tail(self._log)}")

    def _native_seconds(self) -> float:
        """In encoder and decoder since the start: the service's metrics count them."""
        return sum(map(float, NATIVE.findall(self._get("/metrics"))))

    def _get(self, path: str) -> bytes:
        """On the same connection, or on a new one: the service ends one that is not used."""
        with suppress(OSError, HTTPException):
            return self._exchange("GET", path)
        self._connection.close()
        return self._exchange("GET", path)

    def _exchange(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} if body else {}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise BenchError(f"{self._name}: {response.status} to {path}: {content.decode()}")
        return content
