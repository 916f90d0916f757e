"""Runners start an engine or the service; sessions answer requests and end the process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from t5bench import environment
from t5bench.errors import BenchError
from t5bench.queries import Query


class Answer(NamedTuple):
    """The time of one request, in milliseconds, and its output.

    Attributes:
        total_ms: From token ids to token ids; over HTTP, from request to response.
        native_ms: The part of `total_ms` within native code, if the engine reports it.
        tokens: The output's token ids; None over HTTP.
        cpu_ms: Processor time of all threads until they sleep again; None: not measured.
    """

    total_ms: float
    native_ms: float | None = None
    tokens: list[int] | None = None
    cpu_ms: float | None = None


class Judged(NamedTuple):
    """The time of some documents, in milliseconds, and the logits of each."""

    total_ms: float
    logits: list[list[float]]


class Session(Protocol):
    """A process whose model is loaded."""

    pid: int

    def ask(self, query: Query, tokens: int, *, fixed: bool = True) -> Answer:
        """Requests exactly `tokens` tokens, or, if not fixed, at most `tokens`.

        Raises:
            BenchError: The request failed, or the output has another length.
        """
        ...

    def native_seconds(self) -> float | None:
        """Returns the seconds within native code so far; None: `ask` reports them, or nobody."""
        ...

    def close(self) -> None:
        """Ends the process and waits for its end."""
        ...


class Runner(Protocol):
    """An engine with its settings, which can be started."""

    @property
    def name(self) -> str:
        """The name in tables."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings, without the paths of files."""
        ...

    def renamed(self, name: str) -> Runner:
        """Returns the same runner with another name."""
        ...

    def start(self) -> Session:
        """Starts a process, and returns when its model is loaded.

        Raises:
            BenchError: The process ended.
        """
        ...


@dataclass(frozen=True)
class EngineRunner:
    """Runs an engine in `t5bench.child`, without HTTP.

    Attributes:
        name: The name in tables.
        engine: The engine, a key of `t5bench.child.ENGINES`.
        arguments: Arguments of the engine's class.
        environment: Variables to add to this process's environment.
        cpus: The processors that the process is pinned to; empty: not pinned.
        python: The interpreter, whose environment has the engine's packages.
    """

    name: str
    engine: str
    arguments: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    cpus: Sequence[int] = ()
    python: str = sys.executable

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Runner`."""
        arguments = {name: value for name, value in self.arguments.items() if name != "path"}
        return {**arguments, **self.environment}

    def renamed(self, name: str) -> EngineRunner:
        """See `Runner`."""
        return replace(self, name=name)

    def start(self) -> EngineSession:
        """See `Runner`."""
        return EngineSession(self)


class EngineSession:
    """A running `t5bench.child`."""

    def __init__(self, runner: EngineRunner) -> None:
        self._name = runner.name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        spec = {
            "engine": runner.engine,
            "arguments": dict(runner.arguments),
            "cpus": list(runner.cpus),
        }
        self._process = subprocess.Popen(
            [runner.python, "-m", "t5bench.child", json.dumps(spec)],
            env=environment.extend_environment(runner.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
        )
        self.pid = self._process.pid
        try:
            self._read()
        except BenchError:
            self.close()
            raise

    def ask(self, query: Query, tokens: int, *, fixed: bool = True) -> Answer:
        """See `Session`."""
        assert self._process.stdin is not None  # noqa: S101 - stdin is a pipe
        request = {"ids": query.ids, "tokens": tokens, "fixed": fixed}
        with suppress(BrokenPipeError):  # the process has ended; _read reports why
            self._process.stdin.write(json.dumps(request) + "\n")
        answer = Answer(**self._read())
        check_length(self._name, len(answer.tokens or ()), tokens, fixed=fixed)
        return answer

    def judge(self, documents: Sequence[Query], tokens: Sequence[int]) -> Judged:
        """Requests the logits of some tokens at the first step, for each document.

        Raises:
            BenchError: The process ended.
        """
        assert self._process.stdin is not None  # noqa: S101 - as above
        texts = [{"text": document.text, "ids": document.ids} for document in documents]
        with suppress(BrokenPipeError):
            self._process.stdin.write(
                json.dumps({"documents": texts, "tokens": list(tokens)}) + "\n"
            )
        return Judged(**self._read())

    def native_seconds(self) -> None:
        """See `Session`."""

    def close(self) -> None:
        """See `Session`."""
        with self._log, self._process:  # closes standard input, which ends the process
            pass

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - as above
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise BenchError(f"{self._name} ended: {read_log_tail(self._log)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def check_length(name: str, length: int, tokens: int, *, fixed: bool) -> None:
    """Checks the length of an output.

    Raises:
        BenchError: The output has not exactly `tokens` tokens, or, if not fixed, more.
    """
    if length > tokens or (fixed and length < tokens):
        raise BenchError(f"{name} answered with {length} tokens instead of {tokens}")


def read_log_tail(log: Any, lines: int = 12) -> str:  # noqa: ANN401 - a temporary file
    """Returns the last lines that a process wrote to standard error."""
    log.seek(0)
    text: str = log.read().decode(errors="replace")
    return "\n".join(text.strip().splitlines()[-lines:]) or "it wrote no error message"


def cold_start(runner: Runner, query: Query, tokens: int) -> tuple[Session, float]:
    """Starts a runner and asks once; returns the session and the seconds until the answer."""
    started = time.perf_counter()
    session = runner.start()
    try:
        session.ask(query, tokens)
    except BenchError:
        session.close()
        raise
    return session, time.perf_counter() - started
