"""API keys: every route requires a key unless its endpoint is open."""

from __future__ import annotations

import codecs
import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from t5engine.pool.turns import current_turn
from t5serve.errors import StartupError, Unauthorized
from t5serve.http.endpoints import OPEN_ENDPOINTS
from t5serve.http.responses import error_response
from t5serve.settings import Settings


class KeyRing:
    """The valid API keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._digests = [hashlib.sha256(key).digest() for key in keys]

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Reads the keys; None: no key is needed.

        Raises:
            StartupError: the file can't be read, or has no key.
        """
        return cls(read_keys(settings.api_keys_file)) if settings.api_keys_file else None

    def allow(self, scope: Scope) -> bool:
        """Whether a request has a valid key, or is for an open endpoint."""
        if any(endpoint.matches(scope["path"]) for endpoint in OPEN_ENDPOINTS):
            return True
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        # Digests have one length, and the key is compared with every digest: the time reveals
        # neither the length of a key, nor where keys differ, nor which key matches.
        digest = hashlib.sha256(key.encode("latin-1").strip()).digest()
        matches = [hmac.compare_digest(digest, valid) for valid in self._digests]
        is_allowed = scheme.lower() == "bearer" and any(matches)
        if is_allowed:  # keys take turns, whatever addresses they come from
            current_turn.set((digest, object()))
        return is_allowed


class ApiKeys:
    """Refuses requests to closed endpoints without a valid key in `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._keys.allow(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthorized(
            "the API key is missing or wrong; send the header Authorization: Bearer KEY"
        )
        await error_response(error)(scope, receive, send)


def read_keys(path: Path) -> list[bytes]:
    """Reads the keys of a file: one per line, except blank lines and lines that begin with #.

    Raises:
        StartupError: the file can't be read, or has no key.
    """
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError as error:
        raise StartupError(f"T5SERVE_API_KEYS_FILE: {path}: {error.strerror}") from error
    keys = [key for line in lines if (key := line.strip()) and not key.startswith(b"#")]
    if not keys:
        raise StartupError(f"T5SERVE_API_KEYS_FILE: {path} has no key")
    return keys
