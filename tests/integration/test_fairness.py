"""One client does not starve another, over real sockets."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.serving import NO_TLS, Server, start, stop

QUERIES = (Path(__file__).parents[2] / "gguf/t5gguf/calibration.txt").read_text().splitlines()
GREEDIES: dict[str, dict[str, Any]] = {
    "wide": {"queries": [f"how do i learn python in {i} days" for i in range(32)], "n": 16},
    "beams": {"queries": [f"best laptop of {1990 + i}" for i in range(32)], "num_beams": 20},
    "long": {"queries": [f"{i} " + "how do i learn python " * 20 for i in range(32)]},
}


@pytest.mark.slow
@pytest.mark.parametrize("body", GREEDIES.values(), ids=GREEDIES)
def test_a_lone_query_is_answered_meanwhile(body: dict[str, Any]) -> None:
    """Several lone queries are answered while one request with as much as is allowed still runs."""
    server = start(timeout_ms="600000", max_queue="128")
    server.wait_until_ready()

    def post(body: dict[str, Any]) -> httpx.Response:
        return httpx.post(
            f"{server.url}/v1/reformulate", json={**body, "strict": True}, timeout=600
        )

    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(post, body)
        while not busy(server):
            time.sleep(0.01)
        for number in range(2):
            assert post({"query": f"what is a black hole {number}"}).status_code == 200
        assert not large.done()
        assert large.result().status_code == 200
    stop(server)


def busy(server: Server) -> bool:
    """Whether jobs run."""
    text = httpx.get(f"{server.url}/metrics", verify=NO_TLS).text
    (line,) = (line for line in text.splitlines() if line.startswith("t5serve_running{"))
    return float(line.split()[1]) > 0


@pytest.mark.slow
def test_sharing_changes_no_answer() -> None:
    """Narrow and wide requests side by side have the answers that each has alone."""
    server = start(timeout_ms="600000", threads="1")
    server.wait_until_ready()

    def ask(body: dict[str, Any]) -> list[list[str]]:
        response = httpx.post(f"{server.url}/v1/reformulate", json=body, timeout=600)
        return [result["queries"] for result in response.json()["results"]]

    wide: dict[str, Any] = {"queries": QUERIES[:6], "n": 8, "num_beams": 16, "strategy": "beam"}
    narrow: list[dict[str, Any]] = [{"query": query} for query in QUERIES[6:30]]
    expected = [ask(body) for body in (wide, *narrow)]
    with ThreadPoolExecutor(3) as pool:
        large = [pool.submit(ask, wide) for _ in range(2)]
        answers = list(pool.map(ask, narrow))
        assert [future.result() for future in large] == [expected[0]] * 2
    assert answers == expected[1:]
    stop(server)
