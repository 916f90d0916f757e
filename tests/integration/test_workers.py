"""How many workers and threads the included model gets on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from support.memory import children
from support.overloading import wait_for
from support.serving import start, stop
from t5engine import T5
from t5engine.cpus import MOST_WORKERS, plan

QUERY = "how do i clean a laptop screen"
(SHARE,) = plan(None, None)
CORES = min(SHARE.threads, MOST_WORKERS)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CORES == 1, reason="this process may use one core"),
]


def find_threads(**settings: str) -> str:
    """Returns what the doctor says of workers and threads."""
    environment = {f"T5SERVE_{name.upper()}": value for name, value in settings.items()}
    ran = subprocess.run(
        [sys.executable, "-m", "t5serve", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    (finding,) = [found for found in json.loads(ran.stdout) if found["name"] == "threads"]
    return str(finding["value"])


def test_the_included_model_has_a_worker_per_core() -> None:
    """Each worker has a core of its own, and all of them answer alike."""
    server = start(workers="", max_queue="256")
    try:
        server.wait_until_ready()
        wait_for(lambda: len(server.workers()) == CORES)
        if SHARE.cpus:  # a worker pins itself as soon as it runs
            wait_for(lambda: are_apart([os.sched_getaffinity(pid) for pid in server.workers()]))
        body = {"queries": [QUERY] * 32, "cache": False}
        results = httpx.post(f"{server.url}/v1/reformulate", json=body, timeout=60).json()
        assert len({tuple(result["queries"]) for result in results["results"]}) == 1
    finally:
        stop(server)


def are_apart(masks: list[set[int]]) -> bool:
    """Whether each worker has one core, which no other has."""
    return all(len(mask) == 1 for mask in masks) and len(set.union(*masks)) == len(masks)


def test_the_doctor_says_why() -> None:
    """It names the measured steps: on one thread, and on all of them."""
    value = find_threads()
    assert value.startswith(f"{CORES} x 1, ")
    assert " ms on 1 thread and " in value
    assert f" ms on {SHARE.threads} threads; under 1 ms on one thread" in value


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"workers": "1"}, f"1 x {SHARE.threads}, "),
        ({"threads": "2"}, "1 x 2, "),
        ({"workers": "2", "threads": "1"}, "2 x 1, "),
        ({"models_bytes": "1000000000"}, f"1 x {SHARE.threads}, "),
    ],
)
def test_a_forced_setting_is_respected(settings: dict[str, str], expected: str) -> None:
    """A number of workers or of threads is taken as it is; so is a budget, which counts workers."""
    assert find_threads(**settings).startswith(expected)


def test_a_model_in_this_process_has_them_as_well(embedded: Path) -> None:
    """`T5` starts a worker per core, and ends them all."""
    with T5(embedded) as t5:
        wait_for(lambda: len(children(os.getpid(), "t5engine.worker", str(embedded))) == CORES)
        assert t5.generate(f"paraphrase: {QUERY}")[0].text
    assert not children(os.getpid(), "t5engine.worker", str(embedded))
