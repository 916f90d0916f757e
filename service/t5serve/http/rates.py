"""An optional limit on the requests of each client."""

from __future__ import annotations

import time
from typing import Self

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from t5engine.pool.turns import current_turn
from t5serve.errors import RateLimited
from t5serve.http.endpoints import OPEN_ENDPOINTS
from t5serve.http.responses import error_response
from t5serve.settings import Settings


class ClientRates:
    """Counts the requests of each key, or of each address without keys, in this process."""

    def __init__(self, rate: RateLimitItem) -> None:
        self.rate = rate
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Builds the counts; None: no rate is set."""
        return None if settings.rate_limit is None else cls(settings.rate_limit)

    def allow(self, scope: Scope) -> bool:
        """Counts a request; returns whether its client is within the limit."""
        is_open = any(endpoint.matches(scope["path"]) for endpoint in OPEN_ENDPOINTS)
        return is_open or self._limiter.hit(self.rate, _client())

    def seconds_to_next(self) -> float:
        """Returns the seconds after which the current client may ask again."""
        return self._limiter.get_window_stats(self.rate, _client()).reset_time - time.time()


class RateLimit:
    """Refuses requests beyond a rate, except those of open endpoints."""

    def __init__(self, app: ASGIApp, rates: ClientRates) -> None:
        self._app = app
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._rates.allow(scope):
            await self._app(scope, receive, send)
            return
        error = RateLimited(
            f"more than {self._rates.rate} from this client",
            retry_after=self._rates.seconds_to_next(),
        )
        await error_response(error)(scope, receive, send)


def _client() -> str:
    client, *_ = *current_turn.get(), ""
    return client.hex() if isinstance(client, bytes) else str(client)
