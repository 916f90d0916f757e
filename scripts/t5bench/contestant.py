"""Who is compared: how each is started, asked, and ended."""

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
    """What one request took, in milliseconds.

    Attributes:
        total_ms: from token ids to token ids; over HTTP, from request to response.
        native_ms: of that, within native code, if the engine tells.
        tokens: what came out; over HTTP, none are seen.
    """

    total_ms: float
    native_ms: float | None = None
    tokens: list[int] | None = None


class Running(Protocol):
    """A contestant whose model is loaded."""

    pid: int

    def ask(self, query: Query, tokens: int, *, fixed: bool = True) -> Answer:
        """One request for exactly so many tokens, or, if not fixed, for at most so many.

        Raises:
            BenchError: it failed, or answered with another number of tokens.
        """
        ...

    def close(self) -> None:
        """Ends the process and waits for it."""
        ...


class Contestant(Protocol):
    """One that can be started."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """How it is started, but for its files."""
        ...

    def renamed(self, name: str) -> Contestant:
        """The same under another name."""
        ...

    def start(self) -> Running:
        """Starts it, and returns when its model is loaded.

        Raises:
            BenchError: it ended instead.
        """
        ...


@dataclass(frozen=True)
class InProcess:
    """An engine of `t5bench.child`.

    Attributes:
        name: what tables call it.
        engine: which one.
        arguments: of the engine.
        environment: variables besides this process's own.
        cpus: that it is pinned to; none: it is not.
    """

    name: str
    engine: str
    arguments: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    cpus: Sequence[int] = ()

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Contestant`."""
        arguments = {name: value for name, value in self.arguments.items() if name != "path"}
        return {**arguments, **self.environment}

    def renamed(self, name: str) -> InProcess:
        """See `Contestant`."""
        return replace(self, name=name)

    def start(self) -> Running:
        """See `Contestant`."""
        return Child(self)


class Child:
    """A running `t5bench.child`."""

    def __init__(self, contestant: InProcess) -> None:
        self._name = contestant.name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        spec = {
            "engine": contestant.engine,
            "arguments": dict(contestant.arguments),
            "cpus": list(contestant.cpus),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "t5bench.child", json.dumps(spec)],
            env=environment.inherited(contestant.environment),
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
        """See `Running`."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        request = {"ids": query.ids, "tokens": tokens, "fixed": fixed}
        with suppress(BrokenPipeError):  # it has ended; why, is read below
            self._process.stdin.write(json.dumps(request) + "\n")
        answer = Answer(**self._read())
        check_length(self._name, len(answer.tokens or ()), tokens, fixed=fixed)
        return answer

    def close(self) -> None:
        """See `Running`."""
        with self._log, self._process:  # standard input ends, and with it the process
            pass

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - as above
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise BenchError(f"{self._name} ended: {tail(self._log)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def check_length(name: str, found: int, tokens: int, *, fixed: bool) -> None:
    """Raises:
    BenchError: it is not what was asked for.
    """
    if found > tokens or (fixed and found < tokens):
        raise BenchError(f"{name} answered with {found} tokens instead of {tokens}")


def tail(log: Any, lines: int = 12) -> str:  # noqa: ANN401 - a temporary file
    """The end of what a process wrote to standard error."""
    log.seek(0)
    text: str = log.read().decode(errors="replace")
    return "\n".join(text.strip().splitlines()[-lines:]) or "it said nothing"


def cold_start(contestant: Contestant, query: Query, tokens: int) -> tuple[Running, float]:
    """A contestant that has answered once, and the seconds from its start until then."""
    started = time.perf_counter()
    running = contestant.start()
    try:
        running.ask(query, tokens)
    except BenchError:
        running.close()
        raise
    return running, time.perf_counter() - started
