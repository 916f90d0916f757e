"""Opens the sockets to listen on, before anything else is started."""

from __future__ import annotations

import errno
import logging
import socket
from contextlib import ExitStack
from typing import Any

from t5serve.errors import StartupError

logger = logging.getLogger(__name__)

ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
Address = tuple[Any, ...]  # (host, port), for IPv6 also flow and scope


def open_sockets(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Listens on every address of a host. `::` also accepts IPv4 if the system supports it.

    asyncio alone would accept only IPv6 on `::`.

    Args:
        host: a name or an address.
        port: the port; 0: a free one, the same on all addresses.
        backlog: connections that wait to be accepted.

    Raises:
        StartupError: the host is unknown, or the port can't be used; the message names the setting.
    """
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        addresses = _resolve(host, port)
        for address in addresses:
            bound = port or (sockets[0].getsockname()[1] if sockets else 0)
            try:
                listener = _listen((address[0], bound, *address[2:]), backlog)
            except OSError as error:
                # A name can have an IPv6 address although the system has no IPv6.
                is_last = address == addresses[-1] and not sockets
                if error.errno in ABSENT and not is_last:
                    continue
                raise StartupError(_describe(error, address[0], bound)) from error
            sockets.append(opened.enter_context(listener))
        opened.pop_all()
    return sockets


def format_address(host: str, port: int) -> str:
    """Returns host and port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no name of a host"
        raise StartupError(f"T5SERVE_HOST: {host} can't be resolved: {reason}") from error
    return list(dict.fromkeys(address for *_, address in found))


def _listen(address: Address, backlog: int) -> socket.socket:
    host = address[0]
    is_dual = host == "::" and socket.has_dualstack_ipv6()
    if host == "::" and not is_dual:
        logger.warning("T5SERVE_HOST: :: listens for IPv6 only; this system can't do both at once")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    created = socket.create_server(address, family=family, backlog=backlog, dualstack_ipv6=is_dual)
    # asyncio sets TCP_NODELAY for sockets that name TCP only; without it answers take 40 ms more.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, created.detach())


def _describe(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"T5SERVE_PORT: {format_address(host, port)} is in use"
    if error.errno in ABSENT:
        return f"T5SERVE_HOST: {host} is not an address of this machine"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"T5SERVE_PORT: {format_address(host, port)} needs more rights; use a port above 1023"
        )
    return f"T5SERVE_HOST: can't listen on {format_address(host, port)}: {error.strerror}"
