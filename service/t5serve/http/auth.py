"""API keys: every route needs one but those that say what the service is and whether it lives."""

from __future__ import annotations

import codecs
import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from t5serve.errors import StartupError, Unauthorized
from t5serve.http.endpoints import OPEN_ENDPOINTS
from t5serve.http.responses import error_response


class ApiKeys:
    """Lets requests through that carry one of the keys, as `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, keys: Sequence[bytes]) -> None:
        self._app = app
        self._digests = [hashlib.sha256(key).digest() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._lets_through(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthorized("this service needs an API key: Authorization: Bearer KEY")
        await error_response(error)(scope, receive, send)

    def _lets_through(self, scope: Scope) -> bool:
        if any(endpoint.matches(scope["path"]) for endpoint in OPEN_ENDPOINTS):
            return True
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        # As bytes, and digests of one length: the time tells neither where keys differ nor
        # how long they are. All are compared, whichever it is.
        digest = hashlib.sha256(key.encode("latin-1").strip()).digest()
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return scheme.lower() == "bearer" and any(matches)


def read_keys(path: Path) -> list[bytes]:
    """The keys of a file: one a line, blank lines and those that begin with # left out.

    Raises:
        StartupError: no such file, or no key in it.
    """
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError as error:
        raise StartupError(f"T5SERVE_API_KEYS_FILE: {path}: {error.strerror}") from error
    keys = [key for line in lines if (key := line.strip()) and not key.startswith(b"#")]
    if not keys:
        raise StartupError(f"T5SERVE_API_KEYS_FILE: {path} has no key")
    return keys
