"""Reformulator and AsyncReformulator: the service's answers, in this process."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from support.forking import in_fork
from support.included import SEARCH
from support.memory import children
from support.serving import Server
from t5serve import AsyncReformulator, Reformulator, Result
from t5serve.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    InvalidRequest,
    QueueFull,
    StartupError,
)
from t5serve.http.schemas.reformulate import ReformulateRequest
from t5serve.http.schemas.reformulations import ReformulationBody, ResultBody
from t5serve.results import ReformulateOptions, Reformulation

# Newer Pythons warn of forks in processes with threads, which is what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

QUERIES = ["how do i clean a laptop screen", "what is a black hole", "ls -la | grep foo"]
SENT = {"query", "queries", "stream", "model"}  # these are no options


@pytest.fixture(scope="module")
def reformulator() -> Iterator[Reformulator]:
    with Reformulator("tiny-t5", threads=1) as running:
        yield running


def ask(server: Server, **body: object) -> list[Result]:
    """Returns the results of the service."""
    with server.client() as client:
        content = client.post("/v1/reformulate", json=body).content
    return [
        msgspec.convert({**result, "cached": False}, Result)
        for result in msgspec.json.decode(content)["results"]
    ]


def test_results_are_those_of_the_service(reformulator: Reformulator, server: Server) -> None:
    """Every field of every result is as over HTTP, with options and without."""
    assert reformulator.reformulate(QUERIES) == ask(server, queries=QUERIES)
    options = {"task": "paraphrase", "n": 3, "include_original": True, "min_difference": 0.1}
    asked = ask(server, queries=QUERIES, **options)
    assert reformulator.reformulate(QUERIES, **options) == asked  # type: ignore[arg-type]
    assert asked[2].unchanged_reason == "code"


def test_options_and_results_are_those_of_the_contract() -> None:
    """No field of a request or of a result is missing in the classes of the Python API."""
    assert (
        ReformulateOptions.__annotations__.keys() == ReformulateRequest.model_fields.keys() - SENT
    )
    assert set(Result.__struct_fields__) == ResultBody.model_fields.keys()
    assert set(Reformulation.__struct_fields__) == ReformulationBody.model_fields.keys()


def test_a_string_is_one_query(reformulator: Reformulator) -> None:
    """A single string is no list of characters."""
    (result,) = reformulator.reformulate(QUERIES[0])
    assert result.queries == [SEARCH]


def test_any_number_of_queries(reformulator: Reformulator) -> None:
    """More queries than a request may have, and than the queue holds, are all reformulated."""
    queries = [f"how do i cook {number} eggs" for number in range(150)]
    results = reformulator.reformulate(queries, strategy="greedy")
    assert [result.original for result in results] == queries
    assert not any(result.fallback for result in results)


def test_threads_share_it(reformulator: Reformulator) -> None:
    """Calls from several threads get the answers that they get alone."""
    queries = [f"how do i cook {number} eggs" for number in range(16)]
    alone = [reformulator.reformulate(query) for query in queries]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(reformulator.reformulate, queries)) == alone


def test_a_fork_has_workers_of_its_own(reformulator: Reformulator) -> None:
    """A forked process and the processes of a forking pool are answered like their parent."""
    before = reformulator.reformulate(QUERIES[0])[0].queries
    assert in_fork(lambda: reformulator.reformulate(QUERIES[0])[0].queries) == before
    with multiprocessing.get_context("fork").Pool(2, _keep, [reformulator]) as pool:
        assert pool.map(_reformulate_kept, [QUERIES[0]] * 6) == [before] * 6
    assert reformulator.reformulate(QUERIES[0])[0].queries == before


_kept: list[Reformulator] = []


def _keep(reformulator: Reformulator) -> None:
    _kept.append(reformulator)


def _reformulate_kept(query: str) -> list[str]:
    return _kept[0].reformulate(query)[0].queries


def test_a_deadline_falls_back(reformulator: Reformulator) -> None:
    """What is not done in time falls back to the query; strict, it is an error."""
    queries = [f"how do i cook {number} eggs for supper" for number in range(300)]
    results = reformulator.reformulate(queries, timeout_ms=50)
    late = [result for result in results if result.fallback]
    assert late
    assert {result.fallback_reason for result in late} <= {"deadline_exceeded", "queue_full"}
    assert all(result.queries == [result.original] for result in late)
    with pytest.raises((DeadlineExceeded, QueueFull)):
        reformulator.reformulate(queries, timeout_ms=50, strict=True)


def test_a_dead_worker_is_waited_for() -> None:
    """Queries after the death of the worker are answered by the next worker, not left alone."""
    before = set(children(os.getpid(), "t5engine.worker"))
    with Reformulator("tiny-t5", threads=1) as reformulator:
        (worker,) = set(children(os.getpid(), "t5engine.worker")) - before
        os.kill(worker, signal.SIGKILL)
        results = reformulator.reformulate([QUERIES[0]] * 20)
    assert not any(result.fallback for result in results)


def test_refusals_name_the_query_and_the_option(reformulator: Reformulator) -> None:
    """An invalid query, option or setting is an error that names what is wrong."""
    with pytest.raises(InvalidRequest, match=r"queries\[1\]: must not be blank"):
        reformulator.reformulate(["a dog", " "])
    with pytest.raises(InvalidRequest, match=r"queries\[0\]: is no string"):
        reformulator.reformulate([1])  # type: ignore[list-item]
    with pytest.raises(ContextLengthExceeded):
        reformulator.reformulate("how do you say the word " * 400)
    with pytest.raises(InvalidRequest, match="no task 'translate'"):
        reformulator.reformulate("a dog", task="translate")
    with pytest.raises(InvalidRequest, match="beams: unknown field"):
        reformulator.reformulate("a dog", beams=4)  # type: ignore[call-arg]
    with pytest.raises(StartupError, match="T5SERVE_THREADS"):
        Reformulator(threads=0)
    with pytest.raises(StartupError, match=r"nothing\.gguf does not exist"):
        Reformulator("nothing.gguf")


def test_a_file_is_a_model(embedded: Path) -> None:
    """A path works as well as a recipe's name; preserve may be a set."""
    with Reformulator(embedded, threads=1) as reformulator:
        (result,) = reformulator.reformulate(QUERIES[0], preserve={"content"})  # type: ignore[arg-type]
    assert result.queries


def test_asynchronously() -> None:
    """One object answers calls of several event loops, and calls at once."""
    reformulator = AsyncReformulator("tiny-t5", threads=1)

    async def run() -> list[list[Result]]:
        calls = [reformulator.reformulate(query) for query in QUERIES]
        return await asyncio.gather(*calls)

    async def run_in_context() -> list[list[Result]]:
        async with reformulator:
            return await run()

    first = asyncio.run(run())
    assert [results[0].original for results in first] == QUERIES
    assert asyncio.run(run_in_context()) == first
    with pytest.raises(RuntimeError, match="was closed"):
        asyncio.run(run())


def test_a_cancelled_call_leaves_the_others_alone() -> None:
    """A call that is given up while the model loads does not stop the loading."""

    async def run() -> None:
        async with asyncio.timeout(60):
            reformulator = AsyncReformulator("tiny-t5", threads=1)
            given_up = asyncio.create_task(reformulator.reformulate(QUERIES))
            await asyncio.sleep(0.01)
            given_up.cancel()
            (result,) = await reformulator.reformulate(QUERIES[0])
            assert result.changed
            await reformulator.close()

    asyncio.run(run())


def test_the_import_is_cheap() -> None:
    """`import t5serve` loads neither pydantic nor httpx, numpy or the engine."""
    code = (
        "import sys, t5serve\n"
        "heavy = {'pydantic', 'httpx', 'numpy', 't5engine', 'msgspec'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from t5serve import *\n"
        "assert Reformulator and AsyncClient and Result"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
