"""Asks a model or a service until each query has an answer, or is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from t5serve.errors import ERROR_RESPONSES, InvalidRequest, NotReady, RequestTooLarge
from t5serve.results import Result

Reformulate = Callable[[list[str]], Awaitable[list[Result]]]

PASSING = frozenset({"not_ready", "queue_full", "rate_limited"})
"""Fallbacks that say nothing about the query. The query is asked again until they are over."""
DOUBTFUL = frozenset({"deadline_exceeded", "server_error"})
"""Fallbacks that the query may have caused. The query is asked `ATTEMPTS` times."""
ATTEMPTS = 3
PATIENCE_SECONDS = 600.0  # without any answer
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 10.0


class Refusal(NamedTuple):
    """Why a query has no row."""

    code: str
    message: str


Answer = Result | Refusal


class Asker:
    """Asks for several queries at once.

    Args:
        reformulate: returns the result of each query, fallbacks among them.
        is_strict: whether a query without usable text is refused.
        patience_seconds: how long nobody may answer before the job is given up.
    """

    def __init__(
        self,
        reformulate: Reformulate,
        *,
        is_strict: bool = False,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._reformulate = reformulate
        self._is_strict = is_strict
        self._patience_seconds = patience_seconds
        self._answered_at = time.monotonic()

    async def answer(self, queries: list[str]) -> list[Answer]:
        """Returns the answer to each query, in order.

        Raises:
            NotReady: nobody answers any more.
            RequestError: the service refuses this client.
        """
        answers: dict[int, Answer] = {}
        attempts = 0
        while missing := [index for index in range(len(queries)) if index not in answers]:
            if attempts:
                pause = FIRST_PAUSE_SECONDS * 2.0 ** min(attempts - 1, 20)
                await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS))
            attempts += 1
            found = await self._ask([queries[index] for index in missing])
            for index, answer in zip(missing, found, strict=True):
                judged = self._judge(answer, attempts)
                if judged is not None:
                    answers[index] = judged
                    self._answered_at = time.monotonic()
            if time.monotonic() - self._answered_at > self._patience_seconds:
                raise NotReady(
                    f"no query was answered for {self._patience_seconds:.0f} s; run the command"
                    " again with --resume to continue"
                )
        return [answers[index] for index in range(len(queries))]

    async def _ask(self, queries: list[str]) -> list[Answer]:
        try:
            return list(await self._reformulate(queries))
        except (InvalidRequest, RequestTooLarge) as error:
            if len(queries) == 1:
                code = ERROR_RESPONSES[type(error)].code or "invalid_request"
                return [Refusal(code, error.message.removeprefix(f"{error.param}: "))]
        return [answer for query in queries for answer in await self._ask([query])]

    def _judge(self, answer: Answer, attempts: int) -> Answer | None:
        """Returns the final answer; None if the query is to be asked again."""
        if isinstance(answer, Refusal) or not answer.fallback:
            return answer
        reason = answer.fallback_reason or "server_error"
        if reason in PASSING or (reason in DOUBTFUL and attempts < ATTEMPTS):
            return None
        if reason == "no_usable_output" and not self._is_strict:
            return answer
        return Refusal(reason, "the query could not be reformulated")
