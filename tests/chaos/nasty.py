"""Clients that exhaust a service: what they cost its memory, its probes and its log.

`python tests/chaos/nasty.py` runs one after another: requests without reading, slow heads, idle
connections, more connections than descriptors, and a standard error that nobody reads.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support.memory import private_kb
from support.serving import Server, free_port, launch, start, stop

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST /v1/reformulate HTTP/1.1\r\nhost: localhost\r\n"
UPLOADS = [
    HEALTH * 100,
    POST + b"content-length: 20000\r\n\r\n" + b"\r\n\r\n{" * 4000,
    POST + b"transfer-encoding: chunked\r\n\r\n14\r\n" + b"\r\n" * 10 + b"\r\n0\r\n\r\n",
]
PROBE_SECONDS = 0.05


@dataclass
class Damage:
    """What nasty clients did to a service.

    Attributes:
        growth_mb: the most memory of the parent process, beyond what it had before, in MB.
        probes: seconds of each answer of /healthz.
        lines: lines of the log, except those of requests: each request that is answered has one.
    """

    growth_mb: float = 0.0
    probes: list[float] = field(default_factory=list)
    lines: int = 0

    def __str__(self) -> str:
        slowest = 1000 * max(self.probes, default=0.0)
        return (
            f"{self.growth_mb:+.1f} MB, {len(self.probes)} probes, the slowest {slowest:.0f} ms, "
            f"{self.lines} lines in the log without those of requests"
        )


class Watch:
    """Probes a service and its memory in a thread, over a connection that was there before."""

    def __init__(self, server: Server) -> None:
        self.damage = Damage()
        self._server = server
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Damage:
        self._client = httpx.Client(base_url=self._server.url, timeout=60)
        for _ in range(20):  # what every first request costs is not the nasty clients'
            self._client.get("/healthz")
        self._before = private_kb(self._server.process.pid)
        self._thread.start()
        return self.damage

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._is_over.wait(PROBE_SECONDS):
            started = time.perf_counter()
            self._client.get("/healthz").raise_for_status()
            self.damage.probes.append(time.perf_counter() - started)
            growth = (private_kb(self._server.process.pid) - self._before) / 1000
            self.damage.growth_mb = max(self.damage.growth_mb, growth)


def pipeline(server: Server, seconds: float) -> None:
    """Eight clients send requests and read no answer."""
    with _connections(server, 8) as sockets:
        for index, connection in enumerate(sockets):
            connection.settimeout(seconds / 8)
            data = UPLOADS[index % len(UPLOADS)]
            with contextlib.suppress(OSError):
                for _ in range((7 << 20) // len(data)):
                    connection.sendall(data)


def send_slow_heads(server: Server, seconds: float) -> None:
    """300 clients send a byte of a head every now and then."""
    with _connections(server, 300) as sockets:
        ended = time.monotonic() + seconds
        for connection in sockets:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nx-slow: ")
        while time.monotonic() < ended:
            for connection in sockets:
                with contextlib.suppress(OSError):
                    connection.send(b"a")
            time.sleep(0.2)


def idle(server: Server, seconds: float) -> None:
    """600 clients connect and say nothing."""
    with _connections(server, 600):
        time.sleep(seconds)


def flood_connections(server: Server, seconds: float) -> None:
    """A client opens connections for as long as it can, beyond the limit on descriptors."""
    ended = time.monotonic() + seconds
    while time.monotonic() < ended:
        with contextlib.suppress(OSError), _connections(server, 600):
            time.sleep(0.2)


@contextlib.contextmanager
def _connections(server: Server, count: int) -> Iterator[list[socket.socket]]:
    url = httpx.URL(server.url)
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection((url.host, url.port), timeout=5))
            for _ in range(count)
        ]


ATTACKS: dict[str, Callable[[Server, float], None]] = {
    "pipelining without reading": pipeline,
    "slow heads": send_slow_heads,
    "idle connections": idle,
    "more connections than descriptors": flood_connections,
}


def attack(name: str, seconds: float) -> Damage:
    """Runs an attack on a service of its own."""
    is_flood = name.startswith("more")
    server = start(max_files=256 if is_flood else "", head_seconds="2", threads="1")
    server.wait_until_ready()
    with Watch(server) as damage:
        ATTACKS[name](server, seconds)
    damage.lines = _count_lines(stop(server))
    return damage


def leave_log_unread(requests: int) -> Damage:
    """Makes requests whose log nobody reads."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as log:
        server = launch(free_port(), log, writer, {"threads": "1"})
    server.wait_until_ready()
    with Watch(server) as damage, server.client() as client:
        for _ in range(requests):
            client.get("/" + "y" * 2000, headers={"x-request-id": "x" * 128})
    server.process.terminate()
    server.process.wait(30)
    with os.fdopen(reader, "rb") as unread:
        damage.lines = _count_lines(unread.read().decode())
    return damage


def _count_lines(log: str) -> int:
    return sum("[t5serve.requests]" not in line for line in log.splitlines())


def main() -> None:
    """Prints a line per attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each attack")
    options = parser.parse_args()
    for name in ATTACKS:
        tqdm.write(f"{name}: {attack(name, options.seconds)}")
    tqdm.write(f"unread log: {leave_log_unread(int(300 * options.seconds))}")


if __name__ == "__main__":
    main()
