"""Checks the Host of requests, to protect against DNS rebinding."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

from t5serve.errors import HostNotAllowed
from t5serve.http.endpoints import PROBES
from t5serve.http.responses import error_response
from t5serve.settings import Settings

LOOPBACK_ADDRESSES = frozenset({"localhost", "127.0.0.1", "::1"})
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class HostNames:
    """The names that the Host of a request may have.

    Args:
        hosts: the names, without ports; a name that begins with a dot allows its subdomains.
    """

    def __init__(self, hosts: Collection[str]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._suffixes = tuple(host for host in self._hosts if host.startswith("."))

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Builds the names; None: any name is allowed."""
        names: Collection[str] = settings.allowed_hosts
        if not names and settings.api_keys_file is None:
            names = LOOPBACK_NAMES if settings.host.lower() in LOOPBACK_ADDRESSES else ()
        return cls(names) if names and "*" not in names else None

    def allow(self, scope: Scope) -> bool:
        """Whether a request has an allowed Host, has none, or is a probe.

        Probes are exempt, because load balancers use the address as Host.
        """
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) == 1 and self._has(_without_port(hosts[0].decode("latin-1").strip().lower())):
            return True
        return not hosts or any(endpoint.matches(scope["path"]) for endpoint in PROBES)

    def _has(self, host: str) -> bool:
        return host in self._hosts or bool(self._suffixes and host.endswith(self._suffixes))


class AllowedHosts:
    """Refuses requests whose Host is none of the allowed names.

    With DNS rebinding, a web page makes its own name resolve to 127.0.0.1, and reads the answers of
    a service on loopback. The browser still sends the page's name as Host, so it can be refused.
    """

    def __init__(self, app: ASGIApp, names: HostNames) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._names.allow(scope):
            await self._app(scope, receive, send)
            return
        error = HostNotAllowed(
            "this Host is no name of the service; T5SERVE_ALLOWED_HOSTS lists the names"
        )
        await error_response(error)(scope, receive, send)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    is_port = colon and port.isdecimal() and not name.endswith(":")
    return name if is_port and (":" not in name or name.endswith("]")) else host
