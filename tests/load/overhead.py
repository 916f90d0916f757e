"""What HTTP and the way to the worker add to the time of the engine, for one client.

`python tests/load/overhead.py --requests 500` starts the service, asks over one connection, a
request of each route in turn, and prints medians and 95th percentiles in milliseconds. The
service runs as for a user; its log says what it did, and the client is a bare socket, so that its
own time is small.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedRWPair
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support.serving import start, stop

QUERIES = (Path(__file__).parents[2] / "gguf/t5gguf/calibration.txt").read_text().splitlines()
WARM = 50  # requests of each route before those that count: graphs of their shapes are built


def bodies(query: str) -> dict[str, dict[str, object]]:
    """What each route is asked: one greedy sequence."""
    return {
        "/v1/reformulate": {"query": query, "strategy": "greedy"},
        "/v1/completions": {
            "model": "tiny-t5",
            "prompt": query,
            "temperature": 0,
            "max_tokens": 48,
        },
    }


@dataclass(frozen=True)
class Parts:
    """Milliseconds of one request.

    Attributes:
        engine: tokenising, encoding and the decoder's steps, as the worker measures them.
        worker: all that it does for the request.
        ipc: from the service to the worker and back.
        queue: before that.
        service: from the head of the request to the last byte of the answer.
        client: from the first byte of the request to the last of the answer.
    """

    engine: float
    worker: float
    ipc: float
    queue: float
    service: float
    client: float

    @classmethod
    def of(cls, line: Mapping[str, Any], client: float) -> Parts:
        """From the service's line about a request."""
        return cls(
            engine=line["tokenize_ms"] + line["encode_ms"] + line["decode_ms"],
            worker=line["worker_ms"],
            ipc=line["ipc_ms"],
            queue=line["queue_ms"],
            service=line["ms"],
            client=client,
        )

    def rows(self) -> dict[str, float]:
        """What the table has; what begins with a dash sums to the difference."""
        inside = self.queue + self.ipc + self.worker
        return {
            "client's total": self.client,
            "engine: tokenise, encode, decode": self.engine,
            "difference": self.client - self.engine,
            "HTTP and IPC: all but the worker": self.client - self.worker,
            "- worker: choose tokens, make text": self.worker - self.engine,
            "- to the worker and back": self.ipc,
            "- queue": self.queue,
            "- service: parse, select, serialise": self.service - inside,
            "- HTTP: uvicorn, sockets, client": self.client - self.service,
        }


def post(stream: BufferedRWPair, path: str, body: object, request_id: str) -> float:
    """Milliseconds until the answer is there, which must be a good one."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\nx-request-id: {request_id}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    started = time.perf_counter()
    stream.write(head.encode() + content)
    stream.flush()
    status = stream.readline()
    length = 0
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    answer = stream.read(length)
    seconds = time.perf_counter() - started
    if not status.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"{status.decode()}{answer.decode()}")
    return 1000 * seconds


def measure(requests: int, warm: int = WARM) -> dict[str, list[Parts]]:
    """So many requests of each route, by route."""
    server = start(log_format="json")
    try:
        server.wait_until_ready()
        totals = ask(httpx.URL(server.url), requests, warm)
    finally:
        log = stop(server)
    measured: dict[str, list[Parts]] = defaultdict(list)
    for line in map(json.loads, log.splitlines()):
        # A query that is left alone (code, a name) reaches no worker.
        if line.get("request_id") in totals and "worker_ms" in line:
            measured[line["route"]].append(Parts.of(line, totals[line["request_id"]]))
    return dict(measured)


def ask(url: httpx.URL, requests: int, warm: int) -> dict[str, float]:
    """The client's milliseconds, by the id of the request; those that warm up do not count."""
    totals: dict[str, float] = {}
    with (
        socket.create_connection((url.host, url.port)) as connection,
        connection.makefile("rwb") as stream,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in tqdm(range(-warm, requests), unit="query", disable=None):
            for path, body in bodies(QUERIES[number % len(QUERIES)]).items():
                request_id = f"{number}.{path.rpartition('/')[2]}"
                total = post(stream, path, body, request_id)
                if number >= 0:
                    totals[request_id] = total
    return totals


def table(measured: Mapping[str, Sequence[Parts]]) -> str:
    """In Markdown: of each part the median and the 95th percentile."""
    names = next(iter(measured.values()))[0].rows()
    head = ["ms, median / 95th percentile", *measured]
    lines = [head, ["---"] * len(head)]
    for name in names:
        columns = [[parts.rows()[name] for parts in route] for route in measured.values()]
        lines.append([name, *map(_median_and_tail, columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _median_and_tail(values: Iterable[float]) -> str:
    percentiles = statistics.quantiles(values, n=100, method="inclusive")
    return f"{percentiles[49]:.2f} / {percentiles[94]:.2f}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500, help="of each route")
    tqdm.write(table(measure(parser.parse_args().requests)))


if __name__ == "__main__":
    main()
