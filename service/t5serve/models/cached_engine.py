"""The engine behind a cache: a result is decoded once, for all requests that ask for it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import msgspec

from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import DeadlineExceeded, JobError, JobFailed, QueueFull
from t5engine.messages import Cut, Generate, Generated, Output, Progress, Timings
from t5engine.pool.engine import Engine
from t5engine.pool.result import Result
from t5engine.pool.turns import current_turn
from t5serve.digests import digest
from t5serve.models.cache import ResultCache

Lookup = Literal["hit", "shared", "miss"]
"""How a result came about: from the cache, from the decoding of another request, by decoding."""

DELIVERY_FIELDS = frozenset({"job", "stream", "turn"})
"""The fields of Generate that say when and how a result is delivered. All others decide it."""
_DECIDING = [name for name in Generate.__struct_fields__ if name not in DELIVERY_FIELDS]

RESTART_SECONDS = 0.02  # between looks at an engine that starts a worker anew
MAX_FOLLOWED = 2  # generations of other requests that a request waits for before its own
NO_TIME = Timings(0.0, 0.0, 0.0)


class CachedEngine:
    """Generates like an engine, and decodes nothing whose result is known or on its way.

    Only deterministic generations are cached and shared: beams, greedy search, seeded samples.

    Args:
        engine: the engine of one loaded file.
        cache: may be shared with other engines.

    Attributes:
        cache: the cache.
        on_lookup: called for each result of a deterministic generation.
    """

    def __init__(self, engine: Engine, cache: ResultCache) -> None:
        self._engine = engine
        self.cache = cache
        # An engine refuses to restart a worker on another file, so its results stay valid for as
        # long as it lives; another engine gets another identity, even on the same file.
        self._identity = uuid.uuid4().bytes
        self._flights: dict[bytes, _Flight] = {}
        self.on_lookup: Callable[[Lookup], None] = lambda _lookup: None

    def has_result(
        self,
        config: GenerationConfig,
        *,
        text: str | None = None,
        ids: list[int] | None = None,
        stop: Sequence[str] = (),
        cut: Cut | None = None,
    ) -> bool:
        """Whether `generate` needs no place in the queue now."""
        key = self._key_of(Generate(0, config, text, ids, list(stop), cut=cut))
        if key is None:
            return False
        flight = self._flights.get(key)
        return key in self.cache or (flight is not None and self._can_follow(flight))

    async def generate(
        self,
        config: GenerationConfig,
        *,
        timeout: float,  # noqa: ASYNC109 - the caller splits its budget
        text: str | None = None,
        ids: list[int] | None = None,
        stop: Sequence[str] = (),
        on_progress: Callable[[Progress], None] | None = None,
        cut: Cut | None = None,
    ) -> Result:
        """Generates like `Engine.generate`.

        A result that was decoded for another request has no time in the worker; the time that was
        spent waiting for it is time in the queue. Its text is reported in one piece.

        Raises:
            JobError: always one of its subclasses.
        """
        request = Generate(0, config, text, ids, list(stop), cut=cut)
        key = self._key_of(request)
        if key is None:
            return await self._decode(request, timeout, on_progress)
        started = time.perf_counter()
        deadline = started + timeout
        for _ in range(MAX_FOLLOWED):
            if (stored := self.cache.get(key)) is not None:
                self.on_lookup("hit")
                return _reuse(_decoder.decode(stored), started, on_progress)
            flight = self._flights.get(key)
            if flight is None or not self._can_follow(flight):
                break
            result = await self._follow(key, flight, deadline)
            if result is not None:
                self.on_lookup("shared")
                return _reuse(_Stored.of(result.generated), started, on_progress)
        self.on_lookup("miss")
        return await self._lead(key, request, deadline, on_progress)

    def _key_of(self, request: Generate) -> bytes | None:
        """Returns the key of the result; None: the result is not deterministic, or has no key."""
        if not request.config.is_deterministic:
            return None
        try:
            return key_of(self._identity, request)
        except (TypeError, ValueError, OverflowError):  # the engine says what is wrong
            return None

    def _can_follow(self, flight: _Flight) -> bool:
        """Whether a request of the current client loses nothing by waiting for a generation.

        Clients take turns in the queue: a generation that still waits there for the turn of
        another client may be far behind the turn of this one.
        """
        return flight.client == _client() or not self._engine.waiting

    async def _decode(
        self,
        request: Generate,
        timeout: float,  # noqa: ASYNC109
        on_progress: Callable[[Progress], None] | None,
    ) -> Result:
        return await self._engine.generate(
            request.config,
            timeout=timeout,
            text=request.text,
            ids=request.ids,
            stop=request.stop,
            on_progress=on_progress,
            cut=request.cut,
        )

    async def _lead(
        self,
        key: bytes,
        request: Generate,
        deadline: float,
        on_progress: Callable[[Progress], None] | None,
    ) -> Result:
        """Starts a generation that other requests may wait for, and waits for it."""
        flight = _Flight(on_progress)
        self._flights[key] = flight
        # A task of its own: others may wait for it when the client of this request has left.
        flight.task = asyncio.create_task(self._fly(key, flight, request, deadline))
        try:
            return await self._wait(key, flight)
        finally:
            flight.on_progress = None

    async def _fly(self, key: bytes, flight: _Flight, request: Generate, deadline: float) -> Result:
        try:
            tell = None if flight.on_progress is None else flight.tell
            result = await self._decode(request, deadline - time.perf_counter(), tell)
            self.cache.put(key, _encoder.encode(_Stored.of(result.generated)))
            return result
        finally:
            self._remove(key, flight)

    async def _follow(self, key: bytes, flight: _Flight, deadline: float) -> Result | None:
        """Waits for the generation of another request.

        Returns:
            The result. None: the generation failed for a reason that is only its request's.
        """
        try:
            async with asyncio.timeout(deadline - time.perf_counter()):
                try:
                    return await self._wait(key, flight)
                except JobError as error:
                    if not flight.is_to_blame(error, deadline - time.perf_counter()):
                        raise
                if isinstance(flight.task.exception(), JobFailed):
                    await self._wait_for_worker()  # as a job of its own that is tried again
                return None
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the model was done") from None

    async def _wait_for_worker(self) -> None:
        while self._engine.state == "restarting":  # noqa: ASYNC110 - the engine has no such event
            await asyncio.sleep(RESTART_SECONDS)

    async def _wait(self, key: bytes, flight: _Flight) -> Result:
        """Waits for a generation; it ends with the last request that waits for it."""
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._remove(key, flight)
                flight.task.cancel()

    def _remove(self, key: bytes, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class _Flight:
    """A generation that is under way for one request or several.

    Args:
        on_progress: called with new text, for the request that started the generation.

    Attributes:
        task: ends with the result.
        client: whose turn the generation takes.
        waiters: the number of requests that wait for the result.
    """

    task: asyncio.Task[Result]

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self.on_progress = on_progress
        self.client = _client()
        self.waiters = 0
        self._is_told = False

    def tell(self, progress: Progress) -> None:
        """Passes on text, while the request that started the generation is there."""
        self._is_told = True
        if self.on_progress is not None:
            self.on_progress(progress)

    def is_to_blame(self, error: JobError, seconds: float) -> bool:
        """Whether an error is due to the request that started the generation, not to its input.

        Args:
            error: the error of the generation.
            seconds: the time that another request has left.
        """
        if isinstance(error, DeadlineExceeded):
            return True
        if isinstance(error, QueueFull):
            return seconds > error.retry_after  # there may be time enough to wait for a place
        return isinstance(error, JobFailed) and self._is_told  # else it was tried twice


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """What the cache keeps of a result: all but how it came about."""

    outputs: list[Output]
    prompt_tokens: int

    @classmethod
    def of(cls, generated: Generated) -> _Stored:
        return cls(generated.outputs, generated.prompt_tokens)


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[_Stored] = msgspec.msgpack.Decoder(_Stored)


def key_of(identity: bytes, request: Generate) -> bytes:
    """Returns the key of a result, made from all that the result depends on.

    The text counts as it is: how much of it a tokenizer ignores depends on the vocabulary.

    Args:
        identity: of the loaded file, and of how its workers are configured.
        request: what is decoded.

    Raises:
        TypeError, ValueError, OverflowError: the request can't be encoded.
    """
    return digest(identity, [getattr(request, name) for name in _DECIDING])


def _reuse(
    stored: _Stored, started: float, on_progress: Callable[[Progress], None] | None
) -> Result:
    """Builds the result of a request for which nothing was decoded, and tells its text."""
    if on_progress is not None:
        for index, output in enumerate(stored.outputs):
            if output.text or output.details:
                on_progress(Progress(0, index, output.text, output.details))
    generated = Generated(0, stored.outputs, stored.prompt_tokens, NO_TIME, batch=0)
    waited = 1000 * (time.perf_counter() - started)
    return Result(generated, queue_ms=waited, ipc_ms=0.0, cached=True)


def _client() -> Hashable:
    return current_turn.get()[:1]
