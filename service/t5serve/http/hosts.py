"""Checks the Host of requests, against pages that rebind DNS to this machine."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from t5serve.errors import HostNotAllowed
from t5serve.http.endpoints import PROBES
from t5serve.http.responses import error_response

LOOPBACK_ADDRESSES = frozenset({"localhost", "127.0.0.1", "::1"})
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class AllowedHosts:
    """Refuses requests whose Host is none of the allowed names.

    A page of another site can make its own name resolve to 127.0.0.1, and then reads what a
    service on loopback answers. The browser still sends the page's name as Host.

    Probes are exempt: a load balancer asks by address.

    Args:
        app: the application.
        hosts: the names, without ports; a name that begins with a dot allows its subdomains.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._suffixes = tuple(host for host in self._hosts if host.startswith("."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_allowed(scope):
            await self._app(scope, receive, send)
            return
        error = HostNotAllowed(
            "this Host is no name of the service; T5SERVE_ALLOWED_HOSTS lists the names"
        )
        await error_response(error)(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        hosts = Headers(scope=scope).getlist("host")
        if not hosts or any(endpoint.matches(scope["path"]) for endpoint in PROBES):
            return True
        return len(hosts) == 1 and self._is_name(_without_port(hosts[0].strip().lower()))

    def _is_name(self, host: str) -> bool:
        return host in self._hosts or bool(self._suffixes and host.endswith(self._suffixes))


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    is_port = colon and port.isdecimal() and not name.endswith(":")
    return name if is_port and (":" not in name or name.endswith("]")) else host
