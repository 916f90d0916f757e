"""The service while it reranks: a query's time beside it, and its memory over many requests."""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from t5bench import process
from t5bench.errors import BenchError
from t5bench.queries import Query
from t5bench.service import TIMEOUT, HttpRunner, HttpSession

BLOCKS = 6  # of queries, alone and beside a request in turn
TOKENS_OUT = 12  # of a query, as in the main table of `peers`
SAMPLES = 6  # of the memory


def measure_beside(
    model: Path,
    threads: int,
    documents: Sequence[Query],
    queries: Sequence[Query],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Returns the median milliseconds of a lone query, alone and beside a rerank request."""
    with _serve(model, threads) as session:
        body = _rerank_body([document.text for document in documents])
        samples: dict[str, list[float]] = {"alone_ms": [], "beside_ms": []}
        _time_queries(session, queries, 3)
        for _ in range(BLOCKS):
            samples["alone_ms"] += _time_queries(session, queries, options.beside // BLOCKS)
            with _reranking(session.port, body):
                samples["beside_ms"] += _time_queries(session, queries, options.beside // BLOCKS)
    return {name: statistics.median(times) for name, times in samples.items()}


def measure_memory(model: Path, threads: int, calls: int) -> dict[str, int]:
    """Returns the private bytes of the service and its worker after some of the calls."""
    sizes: dict[str, int] = {}
    with _serve(model, threads) as session:
        for call in range(1, calls + 1):
            texts = [f"document {call}", f"another one of {call} " + "words " * (call % 7)]
            session.post("/v1/rerank", _rerank_body(texts))
            if call % max(1, calls // SAMPLES) == 0 or call == calls // 100:
                sizes[str(call)] = process.measure_memory(session.pid)["private_bytes"]
    return sizes


@contextmanager
def _serve(model: Path, threads: int) -> Iterator[HttpSession]:
    session = HttpSession(HttpRunner("t5serve", model, threads))
    try:
        yield session
    finally:
        session.close()


def _time_queries(session: HttpSession, queries: Sequence[Query], count: int) -> list[float]:
    """Returns the milliseconds of greedy completions of a fixed length, one after another."""
    return [
        session.ask(queries[number % len(queries)], TOKENS_OUT).total_ms for number in range(count)
    ]


@contextmanager
def _reranking(port: int, body: dict[str, Any]) -> Iterator[None]:
    """Sends rerank requests, one after another, from the first one that runs to the end."""
    ends = threading.Event()
    faults: list[str] = []

    def ask() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        while not ends.is_set():
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/rerank", json.dumps(body).encode(), headers)
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                faults.append(content.decode())
                return
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.2)  # until it runs
    try:
        yield
    finally:
        ends.set()
        thread.join()
    if faults:
        raise BenchError(f"a rerank request failed: {faults[0]}")


def _rerank_body(texts: Sequence[str]) -> dict[str, Any]:
    return {"query": "what is a quark", "documents": list(texts), "cache": False}
