"""An optional limit on the requests of each client."""

from __future__ import annotations

import time

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from t5engine.pool.turns import current_turn
from t5serve.errors import RateLimited
from t5serve.http.endpoints import OPEN_ENDPOINTS
from t5serve.http.responses import error_response


class RateLimit:
    """Refuses requests beyond a rate, for each key, or for each address without keys.

    Open endpoints are not counted. The counts are this process's own.
    """

    def __init__(self, app: ASGIApp, rate: RateLimitItem) -> None:
        self._app = app
        self._rate = rate
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope):
            await self._app(scope, receive, send)
            return
        client, *_ = *current_turn.get(), ""
        name = client.hex() if isinstance(client, bytes) else str(client)
        if self._limiter.hit(self._rate, name):
            await self._app(scope, receive, send)
            return
        reset_time = self._limiter.get_window_stats(self._rate, name).reset_time
        error = RateLimited(
            f"more than {self._rate} from this client", retry_after=reset_time - time.time()
        )
        await error_response(error)(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    return any(endpoint.matches(scope["path"]) for endpoint in OPEN_ENDPOINTS)
