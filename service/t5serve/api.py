"""Reformulator and AsyncReformulator: a model in this process, without a service.

with Reformulator("tiny-t5") as reformulator:
    (result,) = reformulator.reformulate("how do i clean a laptop screen")
    print(result.queries)
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack

import msgspec

from t5engine.background import Background
from t5engine.concurrency import map_concurrently
from t5engine.pool.turns import current_turn
from t5serve.errors import ERROR_RESPONSES, InvalidRequest, NotReady
from t5serve.http.schemas.body import parse
from t5serve.http.schemas.reformulate import ReformulateRequest, require_text
from t5serve.http.schemas.reformulations import result_json
from t5serve.models.declaration import Declaration
from t5serve.models.models_file import find_declaration
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.options import Options, decoding_of
from t5serve.results import ReformulateOptions, Result, list_queries
from t5serve.settings import Settings, read_settings

NO_DEADLINE_MS = 86_400_000
RESTART_SECONDS = 60.0  # how long a query waits for a worker that takes the place of a dead one
RESTART_PAUSE_SECONDS = 0.05
NOT_READY = ERROR_RESPONSES[NotReady].code


class ModelSettings(TypedDict, total=False):
    """Settings that concern a model in this process; docs/settings.md describes each."""

    workers: int | None
    threads: int | None
    max_batch: int
    max_input_tokens: int
    backend: Literal["auto", "graph", "llama"]
    kernels: Literal["auto", "ggml"]
    logit_scale: float | None
    lexicon: str | Path | None
    prompt_lookup_num_tokens: int
    batch_window_ms: float


class Reformulator:
    """Reformulates queries with a model that this process loads.

    The model runs in worker processes, which decode the queries of all calls together. Any thread
    may call it. A forked process starts workers of its own at its first call.

    Args:
        model: a GGUF file or the name of a recipe; by default T5SERVE_MODEL, or tiny-t5.
        settings: each by default the variable with its name and the prefix T5SERVE_.

    Raises:
        StartupError: the model can't be loaded, or a setting is invalid.
    """

    def __init__(self, model: str | Path | None = None, **settings: Unpack[ModelSettings]) -> None:
        self._background = _make_background(model, settings)
        self._background.open().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers. Without it they end with the process, or when this object goes."""
        self._background.close()

    def reformulate(
        self, queries: str | Sequence[str], **options: Unpack[ReformulateOptions]
    ) -> list[Result]:
        """Returns the result of each query, in order; any number of queries is fine.

        Args:
            queries: the queries. A single string counts as one query.
            options: of /v1/reformulate. `timeout_ms` is for all queries together: those that are
                not done by then fall back to themselves. By default there is no deadline.

        Raises:
            InvalidRequest: a query or an option is invalid.
            RequestError: if strict, what prevented a reformulation.
        """
        return self._background.run(_call(queries, options))


class AsyncReformulator:
    """Reformulates queries like `Reformulator`, for asynchronous callers.

    The model is loaded by `async with`, or by the first call. Any event loop may call it.

    Args:
        model: a GGUF file or the name of a recipe; by default T5SERVE_MODEL, or tiny-t5.
        settings: each by default the variable with its name and the prefix T5SERVE_.

    Raises:
        StartupError: a setting is invalid.
    """

    def __init__(self, model: str | Path | None = None, **settings: Unpack[ModelSettings]) -> None:
        self._background = _make_background(model, settings)

    async def __aenter__(self) -> Self:
        """Loads the model.

        Raises:
            StartupError: the model can't be loaded.
        """
        await asyncio.shield(asyncio.wrap_future(self._background.open()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the workers. Without it they end with the process, or when this object goes."""
        await asyncio.to_thread(self._background.close)

    async def reformulate(
        self, queries: str | Sequence[str], **options: Unpack[ReformulateOptions]
    ) -> list[Result]:
        """Returns the result of each query; see `Reformulator.reformulate`."""
        return await asyncio.wrap_future(self._background.submit(_call(queries, options)))


class EmbeddedModel:
    """A loaded model that reformulates any number of queries at a time, in one event loop.

    Attributes:
        model: the model.
        concurrency: the most queries that the engine has at a time.
    """

    def __init__(self, model: ServedModel, concurrency: int) -> None:
        self.model = model
        self.concurrency = concurrency
        self._slots = asyncio.Semaphore(self.concurrency)
        self._numbers = itertools.count()

    @classmethod
    @asynccontextmanager
    async def load(cls, settings: Settings, name: str | None = None) -> AsyncIterator[Self]:
        """Loads the model of the settings.

        Args:
            settings: name a model, or a file of models.
            name: the model of the file of models, if there is one; None: the first.

        Raises:
            StartupError: the model can't be loaded.
        """
        async with cls.load_declared(settings, find_declaration(settings, name)) as embedded:
            yield embedded

    @classmethod
    @asynccontextmanager
    async def load_declared(
        cls, settings: Settings, declaration: Declaration
    ) -> AsyncIterator[Self]:
        """Loads a model.

        Raises:
            StartupError: the model can't be loaded.
        """
        async with ServedModel.from_settings(settings, declaration) as model:
            workers = len(model.engine.shares)
            yield cls(model, min(settings.max_queue, 2 * settings.max_batch * workers))

    def read_options(self, options: ReformulateOptions) -> Options:
        """Checks options.

        Raises:
            InvalidRequest: an option is invalid.
        """
        body = parse(
            ReformulateRequest, json.dumps({"query": "any", **options}, default=list).encode()
        )
        parsed = body.options(NO_DEADLINE_MS, self.model.profile)
        decoding_of(parsed, self.model.profile.generation)  # refuses parameters without effect
        return parsed

    def does_sample(self, options: ReformulateOptions) -> bool:
        """Whether two requests with these options can have different answers.

        Raises:
            InvalidRequest: an option is invalid.
        """
        parsed = self.read_options(options)
        return decoding_of(parsed, self.model.profile.generation).do_sample

    async def reformulate(self, queries: Sequence[str], options: Options) -> list[Result]:
        """Returns the result of each query, in order.

        Raises:
            RequestError: as for `Reformulator.reformulate`.
        """
        params = [f"queries[{index}]" for index in range(len(queries))]
        for param, query in zip(params, queries, strict=True):
            _check(query, param)
        deadline = time.monotonic() + options.timeout_ms / 1000
        current_turn.set(("in process", next(self._numbers)))

        async def reformulate(index: int, query: str) -> Result:
            return await self._reformulate(query, params[index], options, deadline)

        return await map_concurrently(reformulate, queries, self.concurrency)

    async def _reformulate(
        self, query: str, param: str, options: Options, deadline: float
    ) -> Result:
        """Reformulates one query; waits while a dead worker is replaced."""
        patience = min(deadline, time.monotonic() + RESTART_SECONDS)
        while True:
            try:
                async with self._slots:
                    milliseconds = int(1000 * (deadline - time.monotonic()))
                    timed = replace(options, timeout_ms=max(1, milliseconds))
                    (found,) = await self.model.reformulator.reformulate([query], timed, [param])
            except NotReady:
                if time.monotonic() > patience:
                    raise
            else:
                if found.fallback_reason != NOT_READY or time.monotonic() > patience:
                    return msgspec.convert(result_json(found, None), Result)
            await asyncio.sleep(RESTART_PAUSE_SECONDS)


def _make_background(
    model: str | Path | None, settings: ModelSettings
) -> Background[EmbeddedModel]:
    values: dict[str, Any] = {**settings}
    if model is not None:
        values |= {"model": str(model), "models_file": None}
    checked = read_settings(values)
    return Background(lambda: EmbeddedModel.load(checked))


def _call(
    queries: str | Sequence[str], options: ReformulateOptions
) -> Callable[[EmbeddedModel], Coroutine[Any, Any, list[Result]]]:
    async def reformulate(embedded: EmbeddedModel) -> list[Result]:
        return await embedded.reformulate(list_queries(queries), embedded.read_options(options))

    return reformulate


def _check(query: object, param: str) -> None:
    if not isinstance(query, str):
        raise InvalidRequest(f"{param}: is no string", param=param)
    try:
        require_text(query)
    except ValueError as error:
        raise InvalidRequest(f"{param}: {error}", param=param) from None
