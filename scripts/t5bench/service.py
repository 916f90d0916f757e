"""Runs this engine over HTTP: the service as a user starts it."""

from __future__ import annotations

import json
import re
import select
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
from t5bench.errors import BenchError
from t5bench.queries import Query
from t5bench.runner import Answer, Session, check_length, read_log_tail

POLL = 0.002  # seconds
TIMEOUT = 120.0  # seconds
NATIVE = re.compile(rb't5serve_phase_seconds_sum\{[^}]*phase="(?:encode|decode)"\} (\S+)')

Api = Literal["completions", "reformulate"]


@dataclass(frozen=True)
class HttpRunner:
    """Runs the service on a GGUF file.

    Attributes:
        name: The name in tables.
        model: The GGUF file.
        threads: Threads of the service's one worker.
        api: `completions` can fix the output's length; in `reformulate` the model ends the output.
        kernels: The kernels' instruction set, or auto.
    """

    name: str
    model: Path
    threads: int
    api: Api = "completions"
    kernels: str = "auto"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Runner`."""
        return {"threads": self.threads, "api": self.api, "kernels": self.kernels}

    def renamed(self, name: str) -> HttpRunner:
        """See `Runner`."""
        return replace(self, name=name)

    def start(self) -> Session:
        """See `Runner`."""
        return HttpSession(self)


class Service:
    """A running service, and one connection to it.

    Args:
        name: what messages call it.
        settings: environment variables.

    Raises:
        BenchError: it is not ready in time.
    """

    def __init__(self, name: str, settings: Mapping[str, str]) -> None:
        self._name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "t5serve", "serve", "--port", str(self.port)],
            env=environment.extend_environment(settings),
            stderr=self._log,
        )
        self.pid = self._process.pid
        self._connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            self._wait_until_ready()
        except BenchError:
            self.close()
            raise

    def close(self) -> None:
        """Stops the service."""
        self._connection.close()
        with self._log, self._process:
            self._process.send_signal(signal.SIGTERM)

    def get(self, path: str) -> bytes:
        """Sends a GET request, on a new connection if the service closed the idle one."""
        with suppress(OSError, HTTPException):
            return self.exchange("GET", path)
        self._connection.close()
        return self.exchange("GET", path)

    def renew_connection(self) -> None:
        """Opens another connection if the service has closed the idle one."""
        opened = self._connection.sock
        if opened is not None and select.select([opened], [], [], 0)[0]:  # at its end
            self._connection.close()
            self._connection.connect()

    def exchange(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Sends a request, and returns the body of the answer."""
        headers = {"Content-Type": "application/json"} if body else {}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise BenchError(f"{self._name}: {response.status} to {path}: {content.decode()}")
        return content

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + TIMEOUT
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError, HTTPException, BenchError):
                self.get("/readyz")
                return
            time.sleep(POLL)
        raise BenchError(f"{self._name} is not ready: {read_log_tail(self._log)}")


class HttpSession:
    """A running service with one client."""

    def __init__(self, runner: HttpRunner) -> None:
        self._name = runner.name
        self._api = runner.api
        settings = {
            "T5SERVE_MODEL": str(runner.model),
            "T5SERVE_THREADS": str(runner.threads),
            "T5SERVE_KERNELS": runner.kernels,
            "T5SERVE_TIMEOUT_MS": str(int(1000 * TIMEOUT)),
            "T5SERVE_CACHE_BYTES": "0",  # a query is asked in every round, to be decoded
        }
        self._service = Service(runner.name, settings)
        self.pid, self.port = self._service.pid, self._service.port
        self._model: str = json.loads(self._service.get("/v1/models"))["data"][0]["id"]

    def ask(self, query: Query, tokens: int, *, fixed: bool = True) -> Answer:
        """See `Session`; the time runs from the request's first byte to the response's last."""
        body = json.dumps(self._request_body(query, tokens, fixed=fixed)).encode()
        self._service.renew_connection()
        started = time.perf_counter()
        content = self._service.exchange("POST", f"/v1/{self._api}", body)
        total_ms = 1000 * (time.perf_counter() - started)
        usage = json.loads(content)["usage"]
        if usage["prompt_tokens"] != len(query.ids):
            raise BenchError(
                f"{self._name} took {query.text!r} for {usage['prompt_tokens']} tokens, "
                f"not {len(query.ids)}"
            )
        check_length(self._name, usage["completion_tokens"], tokens, fixed=fixed)
        return Answer(total_ms)

    def native_seconds(self) -> float:
        """See `Session`; encoder and decoder, from the service's metrics."""
        return sum(map(float, NATIVE.findall(self._service.get("/metrics"))))

    def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Sends a request, and returns the content of the answer.

        Raises:
            BenchError: The status is not 200.
        """
        return self._service.exchange("POST", path, json.dumps(body).encode())

    def close(self) -> None:
        """See `Session`."""
        self._service.close()

    def _request_body(self, query: Query, tokens: int, *, fixed: bool) -> dict[str, Any]:
        if self._api == "reformulate":
            return {"query": query.text, "strategy": "greedy", "max_tokens": tokens}
        bias = {"logit_bias": {str(query.ids[-1]): -100}} if fixed else {}  # of `</s>`
        greedy = {"max_tokens": tokens, "temperature": 0}
        return {"model": self._model, "prompt": query.text, **greedy, **bias}
