"""More clients than the service can answer in time: how many good answers remain.

`python tests/chaos/overload.py --seconds 10` measures the peak with clients that wait for long,
then the same and more clients with short deadlines. The clients run on the same machine, and take
a part of its processors, which is shown.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support.memory import cpu_seconds
from support.serving import Server, start, stop

QUERIES = (Path(__file__).parents[2] / "gguf/t5gguf/calibration.txt").read_text().splitlines()
LATE_MS = 1.25  # an answer later than this times its deadline is not a good one
END_OF_HEAD = b"\r\n\r\n"


@dataclass
class Load:
    """What the clients of one run saw.

    Attributes:
        seconds: duration of the run.
        good: milliseconds of answers by the model.
        refused: milliseconds of other answers.
        processors: processor seconds a second, of the service, its workers and the clients.
    """

    seconds: float
    good: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    processors: dict[str, float] = field(default_factory=dict)

    @property
    def good_rate(self) -> float:
        """Good answers a second."""
        return len(self.good) / self.seconds

    def __str__(self) -> str:
        parts = [f"{self.good_rate:.0f} good answers/s"]
        for name, times in (("good", self.good), ("refused", self.refused)):
            if len(times) > 1:
                p50, p99 = (statistics.quantiles(times, n=100)[index] for index in (49, 98))
                parts.append(f"{len(times)} {name}, p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        shares = ", ".join(f"{name} {share:.2f}" for name, share in self.processors.items())
        return "; ".join([*parts, f"processors: {shares}"])


class Client:
    """A client that asks again as soon as it is answered. It is written for little work.

    Attributes:
        socket: the connection.
        asked_at: when it last asked, in seconds by time.perf_counter.
    """

    def __init__(self, server: Server, requests: Iterator[bytes]) -> None:
        url = httpx.URL(server.url)
        self.socket = socket.create_connection((url.host, url.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = requests
        self._received = b""
        self.asked_at = 0.0

    def ask(self) -> None:
        """Sends the next request."""
        self.asked_at = time.perf_counter()
        self.socket.sendall(next(self._requests))

    def receive(self) -> bytes | None:
        """Reads what has arrived; returns the body of the answer once it is complete."""
        self._received += self.socket.recv(1 << 16)
        head, end, body = self._received.partition(END_OF_HEAD)
        if not end:
            return None
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(self._received.decode())
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        self._received = b""
        return body


def run(server: Server, clients: int, timeout_ms: int, seconds: float) -> Load:
    """Asks in closed loops, without a pause after a refusal."""
    load = Load(seconds)
    selector = selectors.DefaultSelector()
    for number in range(clients):
        client = Client(server, requests(number, clients, timeout_ms))
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.ask()
    before = processor_seconds(server)
    started = now = time.perf_counter()
    while now < started + seconds:
        for key, _ in selector.select(0.1):
            client = key.data
            body = client.receive()
            now = time.perf_counter()
            if body is not None:
                milliseconds = 1000 * (now - client.asked_at)
                is_good = b'"fallback":false' in body and milliseconds < LATE_MS * timeout_ms
                (load.good if is_good else load.refused).append(milliseconds)
                client.ask()
        now = time.perf_counter()
    after = processor_seconds(server)
    load.seconds = now - started
    load.processors = {name: (after[name] - before[name]) / load.seconds for name in after}
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()
    return load


def requests(number: int, clients: int, timeout_ms: int) -> Iterator[bytes]:
    """Yields the requests of a client, for ever."""
    while True:
        body = {"query": QUERIES[number % len(QUERIES)], "timeout_ms": timeout_ms}
        number += clients
        content = json.dumps(body).encode()
        head = "POST /v1/reformulate HTTP/1.1\r\nhost: localhost\r\n"
        yield f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


def processor_seconds(server: Server) -> dict[str, float]:
    """Returns the processor seconds that the service, its workers and this process have used."""
    return {
        "service": cpu_seconds(server.process.pid),
        "workers": sum(map(cpu_seconds, server.workers())),
        "clients": time.process_time(),
    }


def measure(seconds: float, loads: list[tuple[int, int]], **settings: str) -> list[Load]:
    """Runs the loads, (clients, timeout_ms) each, one after another on one service."""
    server = start(**settings)
    try:
        server.wait_until_ready()
        return [run(server, *load, seconds) for load in loads]
    finally:
        stop(server)


def main() -> None:
    """Prints a line per load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--threads", help="of the worker; fewer where others use the processors")
    options = parser.parse_args()
    seconds = options.seconds
    settings = {} if options.threads is None else {"threads": options.threads}
    loads = [(8, 10_000), (16, 10_000), (60, 10_000), (60, 100), (60, 50), (300, 100)]
    results = measure(seconds, loads, **settings)
    peak = max(result.good_rate for result in results[:3])
    for (clients, timeout_ms), result in zip(loads, results, strict=True):
        share = result.good_rate / peak
        tqdm.write(f"{clients} clients, {timeout_ms} ms: {share:.0%} of the peak; {result}")


if __name__ == "__main__":
    main()
