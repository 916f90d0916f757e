"""Client and AsyncClient: reformulate queries and rerank documents with a running service.

with Client("http://127.0.0.1:8000") as client:
(result,) = client.reformulate("how do i clean a laptop screen")
print(result.queries)
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypedDict, Unpack

import httpx
import msgspec

from t5engine.background import Background
from t5serve.client.answers import read_error, read_ranking, read_results
from t5serve.client.retries import Deadline, backoff, is_retried, retry_after
from t5serve.errors import (
    ERROR_RESPONSES,
    DeadlineExceeded,
    InputQuarantined,
    NotReady,
    QueueFull,
    RateLimited,
    RequestError,
    ServerFault,
)
from t5serve.results import (
    RankedDocument,
    ReformulateOptions,
    RerankOptions,
    Result,
    list_queries,
)

URL = "http://127.0.0.1:8000"
REFORMULATE, RERANK = "/v1/reformulate", "/v1/rerank"
# After these errors the query itself is the result. Other errors are faults of the request.
FALLBACKS = (
    DeadlineExceeded,
    InputQuarantined,
    NotReady,
    QueueFull,
    RateLimited,
    ServerFault,
)
WAIT_SECONDS = 30.0  # without a deadline; the service's own is 10 s by default
NETWORK_SHARE, NETWORK_SECONDS = 0.1, 0.1  # of a deadline, for the way to the service and back


class ClientOptions(TypedDict, total=False):
    """How a client reaches the service.

    Attributes:
        api_key: a key of the service; by default the variable T5SERVE_API_KEY.
        model: the model to ask; by default the first that the service has.
        timeout_ms: the deadline of a call that sets none; by default the service's.
        retries: how often a request is sent again: after 429, 502 or 503, or without an answer.
        max_queries: the most queries of a request: the service's T5SERVE_MAX_QUERIES, or fewer.
        transport: another transport of httpx.
    """

    api_key: str | None
    model: str | None
    timeout_ms: int | None
    retries: int
    max_queries: int
    transport: httpx.AsyncBaseTransport | None


class AsyncClient:
    """Reformulates queries with a service, for asynchronous callers.

    Args:
        url: where the service is.
        options: see `ClientOptions`.
    """

    def __init__(self, url: str = URL, **options: Unpack[ClientOptions]) -> None:
        self._url = url.rstrip("/")
        key = options.get("api_key") or os.environ.get("T5SERVE_API_KEY")
        self._headers = {"content-type": "application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._model = options.get("model")
        self._timeout_ms = options.get("timeout_ms")
        self._retries = options.get("retries", 3)
        self._max_queries = options.get("max_queries", 32)
        self._transport = options.get("transport")
        self._http: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        if self._http is not None and self._loop is asyncio.get_running_loop():
            await self._http.aclose()
        self._http = None

    async def reformulate(
        self, queries: str | Sequence[str], **options: Unpack[ReformulateOptions]
    ) -> list[Result]:
        """Returns the result of each query, in order; any number of queries is fine.

        A query falls back to itself where the service is overloaded, does not answer or can't be
        reached, or where the time is over.

        Args:
            queries: the queries. A single string counts as one query.
            options: of /v1/reformulate. `timeout_ms` is for all queries together.

        Raises:
            RequestError: a query, an option or the key is refused; if strict, also what prevented
                a reformulation.
        """
        texts = list_queries(queries)
        values: dict[str, Any] = {
            name: list(value) if isinstance(value, (set, frozenset)) else value
            for name, value in options.items()
            if value is not None
        }
        timeout_ms = values.pop("timeout_ms", self._timeout_ms)
        deadline = Deadline(WAIT_SECONDS if timeout_ms is None else timeout_ms / 1000)
        results: list[Result] = []
        for start in range(0, len(texts), self._max_queries):
            part = texts[start : start + self._max_queries]
            if timeout_ms is None:  # each request has the service's own deadline
                deadline = Deadline(WAIT_SECONDS)
            results += await self._ask(part, values, deadline, sends_deadline=bool(timeout_ms))
        return results

    async def _ask(
        self,
        queries: list[str],
        values: dict[str, Any],
        deadline: Deadline,
        *,
        sends_deadline: bool,
    ) -> list[Result]:
        """Returns the results of one request, or the queries themselves if it has no answer."""
        body = {**values, "queries": queries}
        if self._model is not None:
            body["model"] = self._model
        try:
            async with asyncio.timeout(deadline.remaining):
                content = await self._send(
                    REFORMULATE, body, deadline, sends_deadline=sends_deadline
                )
            return read_results(content, len(queries))
        except FALLBACKS as error:
            reason = error
        except TimeoutError:
            reason = self._no_answer()
        if values.get("strict"):
            raise reason
        code = ERROR_RESPONSES[type(reason)].code or "server_error"
        return [Result.of_fallback(query, code) for query in queries]

    async def rerank(
        self, query: str, documents: Sequence[str], **options: Unpack[RerankOptions]
    ) -> list[RankedDocument]:
        """Returns the documents in the order of their relevance for a query, best first.

        Args:
            query: the query.
            documents: at most 1,000 documents.
            options: of /v1/rerank.

        Raises:
            RequestError: a text, an option or the key is refused, or the documents could not be
                judged in time.
        """
        body: dict[str, Any] = {
            **{name: value for name, value in options.items() if value is not None},
            "query": query,
            "documents": list(documents),
        }
        timeout_ms = body.pop("timeout_ms", self._timeout_ms)
        deadline = Deadline(WAIT_SECONDS if timeout_ms is None else timeout_ms / 1000)
        if self._model is not None:
            body["model"] = self._model
        try:
            async with asyncio.timeout(deadline.remaining):
                content = await self._send(
                    RERANK, body, deadline, sends_deadline=timeout_ms is not None
                )
        except TimeoutError:
            raise self._no_answer() from None
        return read_ranking(content, body["documents"])

    def _no_answer(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"{self._url} did not answer in time")

    async def _send(
        self, path: str, body: dict[str, Any], deadline: Deadline, *, sends_deadline: bool
    ) -> bytes:
        """Sends a request until it has an answer, and returns the content of the answer.

        Raises:
            RequestError: the service refused the request, or had no answer for the last attempt.
        """
        for attempt in range(self._retries + 1):
            if sends_deadline:
                body["timeout_ms"] = _milliseconds_of_service(deadline)
            pause = backoff(attempt)
            try:
                response = await self._post(path, msgspec.json.encode(body))
            except httpx.TransportError as fault:
                error: RequestError = NotReady(
                    f"{self._url} can't be reached: {fault or type(fault).__name__}"
                )
            else:
                if response.is_success:
                    return response.content
                error = read_error(response.status_code, response.content)
                if not is_retried(response.status_code, response.headers):
                    raise error
                advised = retry_after(response.headers)
                pause = pause if advised is None else max(pause, advised)
            if attempt == self._retries or pause >= deadline.remaining:
                break  # waiting would only make the caller wait
            await asyncio.sleep(pause)
        raise error

    async def _post(self, path: str, content: bytes) -> httpx.Response:
        loop = asyncio.get_running_loop()
        if self._http is None or self._loop is not loop:  # connections belong to their loop
            self._http = httpx.AsyncClient(timeout=None, transport=self._transport)  # noqa: S113 - see _ask
            self._loop = loop
        return await self._http.post(self._url + path, content=content, headers=self._headers)


class Client:
    """Reformulates queries with a service.

    Any thread may call it. A forked process opens connections of its own.

    Args:
        url: where the service is.
        options: see `ClientOptions`.
    """

    def __init__(self, url: str = URL, **options: Unpack[ClientOptions]) -> None:
        @asynccontextmanager
        async def connect() -> AsyncIterator[AsyncClient]:
            async with AsyncClient(url, **options) as client:
                yield client

        self._background = Background(connect)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._background.close()

    def reformulate(
        self, queries: str | Sequence[str], **options: Unpack[ReformulateOptions]
    ) -> list[Result]:
        """Returns the result of each query, in order; see `AsyncClient.reformulate`."""

        async def reformulate(client: AsyncClient) -> list[Result]:
            return await client.reformulate(queries, **options)

        return self._background.run(reformulate)

    def rerank(
        self, query: str, documents: Sequence[str], **options: Unpack[RerankOptions]
    ) -> list[RankedDocument]:
        """Returns the documents in the order of their relevance; see `AsyncClient.rerank`."""

        async def rerank(client: AsyncClient) -> list[RankedDocument]:
            return await client.rerank(query, documents, **options)

        return self._background.run(rerank)


def _milliseconds_of_service(deadline: Deadline) -> int:
    """Returns the deadline to send, sooner than the caller's: the answer must come back, too."""
    seconds = deadline.remaining
    network = min(NETWORK_SHARE * seconds, NETWORK_SECONDS)
    return max(1, math.floor(1000 * (seconds - network)))
