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
from t5serve.http.endpoints import ADMIN_ENDPOINTS, OPEN_ENDPOINTS
from t5serve.http.responses import error_response

API_KEYS, ADMIN_KEYS = "T5SERVE_API_KEYS_FILE", "T5SERVE_ADMIN_KEYS_FILE"


class KeyRing:
    """The valid keys.

    Args:
        keys: the keys.
        path: the file of the keys; None: the keys can't be read again.
        setting: the setting that names the file.
    """

    def __init__(
        self, keys: Sequence[bytes], path: Path | None = None, setting: str = API_KEYS
    ) -> None:
        self._path = path
        self._setting = setting
        self.replace(keys)

    @classmethod
    def from_file(cls, path: Path | None, setting: str) -> Self | None:
        """Reads the keys of a file; returns None if no file is configured.

        Raises:
            StartupError: the file can't be read, or has no key.
        """
        return None if path is None else cls(read_keys(path, setting), path, setting)

    def read_again(self) -> list[bytes]:
        """Reads the keys of the file, without making them valid.

        Raises:
            StartupError: the file can't be read, or has no key.
        """
        return [] if self._path is None else read_keys(self._path, self._setting)

    def replace(self, keys: Sequence[bytes]) -> None:
        """Replaces the valid keys."""
        self._digests = [hashlib.sha256(key).digest() for key in keys]

    def allow(self, scope: Scope) -> bool:
        """Whether a request has a valid key, or is for an open endpoint."""
        is_open = any(endpoint.matches(scope["path"]) for endpoint in OPEN_ENDPOINTS)
        return is_open or self.has_key(scope)

    def has_key(self, scope: Scope) -> bool:
        """Whether a request has a valid key."""
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        # Digests have one length, and the key is compared with every digest: the time reveals
        # neither the length of a key, nor where keys differ, nor which key matches.
        digest = hashlib.sha256(key.encode("latin-1").strip()).digest()
        matches = [hmac.compare_digest(digest, valid) for valid in self._digests]
        is_allowed = scheme.lower() == "bearer" and any(matches)
        if is_allowed:  # turns are per key, not per address
            current_turn.set((digest, object()))
        return is_allowed


class ApiKeys:
    """Refuses requests to closed endpoints without a valid key in `Authorization: Bearer KEY`.

    Args:
        app: the application.
        keys: the keys of clients; None: clients need none.
        admin_keys: the keys of operators; None: there are none.
    """

    def __init__(
        self, app: ASGIApp, keys: KeyRing | None, admin_keys: KeyRing | None = None
    ) -> None:
        self._app = app
        self._keys = keys
        self._admin_keys = admin_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._allows(scope):
            await self._app(scope, receive, send)
            return
        error = Unauthorized(
            "the API key is missing or wrong; send the header Authorization: Bearer KEY"
        )
        await error_response(error)(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        is_admin = any(endpoint.matches(scope["path"]) for endpoint in ADMIN_ENDPOINTS)
        if is_admin and self._admin_keys is not None:
            return self._admin_keys.has_key(scope)
        return self._keys is None or self._keys.allow(scope)


def read_keys(path: Path, setting: str = API_KEYS) -> list[bytes]:
    """Reads the keys of a file: one per line, except blank lines and lines that begin with #.

    Raises:
        StartupError: the file can't be read, or has no key.
    """
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError as error:
        raise StartupError(f"{setting}: {path}: {error.strerror}") from error
    keys = [key for line in lines if (key := line.strip()) and not key.startswith(b"#")]
    if not keys:
        raise StartupError(f"{setting}: {path} has no key")
    return keys
