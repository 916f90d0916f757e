"""Several models in one service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.overloading import wait_for
from support.serving import NO_TLS, Server, start, stop
from support.several import Table, build_models, write_models_file

Json = dict[str, Any]
QUERIES = ["weather in oslo", "how do i clean a laptop screen", "cars of two kinds"]
pytestmark = pytest.mark.slow
NAMES = ["included", "lists", "tied", "gated"]
UNHURRIED: dict[str, str] = {"threads": "1", "timeout_ms": "60000"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four small models."""
    return build_models(tmp_path_factory.mktemp("several"))


@contextmanager
def serving(folder: Path, *tables: Table, **settings: str) -> Iterator[Server]:
    """A service with these models."""
    file = write_models_file(folder / "models.toml", *tables)
    server = start(models_file=str(file), **{**UNHURRIED, **settings})
    try:
        server.wait_until_ready()
        yield server
    finally:
        log = stop(server)
        assert "Traceback" not in log, log


def state(server: Server, name: str) -> str:
    states: Json = httpx.get(f"{server.url}/readyz", verify=NO_TLS).json()["models"]
    return str(states[name]["state"])


async def answers(url: str, model: str) -> list[Json]:
    """Returns the tokens of completions and the results of reformulations, all asked at once."""
    completion = {"model": model, "temperature": 0, "max_tokens": 12, "logprobs": 2}
    reformulation = {"n": 3, "strategy": "beam", "num_beams": 4, "preserve": []}
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        posts = [
            client.post("/v1/completions", json={**completion, "prompt": query})
            for query in QUERIES
        ] + [
            client.post("/v1/reformulate", json={**reformulation, "query": query, "model": model})
            for query in QUERIES
        ]
        bodies = [response.json() for response in await asyncio.gather(*posts)]
    kept = [body["choices"] for body in bodies[:3]] + [body["results"] for body in bodies[3:]]
    return [
        {"model": body["model"], "answer": answer}
        for body, answer in zip(bodies, kept, strict=True)
    ]


async def answers_of_all(url: str, names: Sequence[str]) -> list[list[Json]]:
    return await asyncio.gather(*(answers(url, name) for name in names))


def rounded(value: object) -> object:
    """Rounds numbers: log-probabilities differ in the last digits with the rows of a batch."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def alone(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answers of each model in a service of its own."""
    folder = tmp_path_factory.mktemp("alone")
    found: dict[str, Any] = {}
    for name in NAMES:
        with serving(folder, {"name": name, "model": files[name]}) as server:
            found[name] = rounded(asyncio.run(answers(server.url, name)))
    assert len({json.dumps(found[name]) for name in NAMES}) == len(NAMES)
    return found


@pytest.mark.parametrize("count", [2, 4])
def test_models_at_once_answer_as_each_alone(
    files: dict[str, Path], alone: dict[str, Any], tmp_path: Path, count: int
) -> None:
    """Models that decode at the same time choose the tokens that each chooses alone."""
    names = NAMES[:count]
    with serving(tmp_path, *({"name": name, "model": files[name]} for name in names)) as server:
        together = asyncio.run(answers_of_all(server.url, names))
    assert rounded(together) == [alone[name] for name in names]


@pytest.fixture(scope="module")
def two(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two models that serve, and one that can't be loaded."""
    folder = tmp_path_factory.mktemp("two")
    broken = folder / "broken.gguf"
    broken.write_bytes(b"GGUF and then nothing")
    tables: list[Table] = [
        {"name": "rewriter", "model": files["included"], "defaults": {"task": "fix", "n": 2}},
        {"name": "decomposer", "model": files["lists"]},
        {"name": "broken", "model": broken},
    ]
    with serving(folder, *tables) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/reformulate", {"query": QUERIES[0]}),
        ("/v1/completions", {"prompt": QUERIES[0]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": QUERIES[0]}]}),
    ],
)
def test_every_route_chooses_by_name(two: Server, path: str, body: Json) -> None:
    """The answer has the name of its model; an unknown name is 404 with the list of names."""
    with two.client() as client:
        for model in ("rewriter", "decomposer"):
            assert client.post(path, json={**body, "model": model}).json()["model"] == model
            listed = client.get(f"/v1/models/{model}").json()
            assert (listed["id"], listed["state"]) == (model, "ready")
        unknown = client.post(path, json={**body, "model": "other"})
        assert unknown.status_code == 404
        error = unknown.json()["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "'rewriter', 'decomposer', 'broken'" in error["message"]
        failed = client.post(path, json={**body, "model": "broken"})
        assert failed.status_code == 503
        assert "broken.gguf" in failed.json()["error"]["message"]
        assert int(failed.headers["retry-after"]) >= 1
        assert client.get("/v1/models/other").status_code == 404


def test_the_first_model_is_the_default(two: Server) -> None:
    """A request that names no model gets the first, with the defaults that the file declares."""
    with two.client() as client:
        body = client.post("/v1/reformulate", json={"query": "helo wrld"}).json()
        assert body["model"] == "rewriter"
        same = {"query": "helo wrld", "model": "rewriter", "task": "fix", "n": 2}
        assert body["results"] == client.post("/v1/reformulate", json=same).json()["results"]
        first, second, broken = client.get("/v1/models").json()["data"]
    assert next(iter(first["tasks"])) == "fix"
    assert list(second["tasks"]) == ["search"]
    assert (broken["state"], broken["tasks"]) == ("failed", {})
    assert "broken.gguf" in broken["failure"]


def test_a_model_that_fails_does_not_take_the_others_down(two: Server) -> None:
    """/readyz is 200 and says which model failed, and why; so do the metrics."""
    with two.client() as client:
        response = client.get("/readyz")
        metrics = client.get("/metrics").text
    assert response.status_code == 200
    body = response.json()
    assert (body["status"], body["model"]) == ("ready", "rewriter")
    states = {name: model["state"] for name, model in body["models"].items()}
    assert states == {"rewriter": "ready", "decomposer": "ready", "broken": "failed"}
    assert "broken.gguf" in body["models"]["broken"]["reason"]
    assert 't5serve_model_failed{model="broken"} 1.0' in metrics
    assert 't5serve_ready{model="broken"} 0.0' in metrics
    assert 't5serve_ready{model="decomposer"} 1.0' in metrics


def test_metrics_are_per_model(two: Server) -> None:
    """An input counts for the model that decoded it."""

    def decoded(client: httpx.Client, model: str) -> float:
        sample = f't5serve_batch_sequences_count{{model="{model}"}} '
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(sample))

    with two.client() as client:
        before = [decoded(client, name) for name in ("rewriter", "decomposer")]
        body = {"query": QUERIES[2], "model": "decomposer"}
        assert client.post("/v1/reformulate", json=body).status_code == 200
        after = [decoded(client, name) for name in ("rewriter", "decomposer")]
    assert after == [before[0], before[1] + 1]


def test_a_model_that_dies_leaves_the_others_answering(
    files: dict[str, Path], tmp_path: Path
) -> None:
    """While a model's worker is started anew, each request to another model gets its answer."""
    tables = [{"name": name, "model": files[name]} for name in ("included", "lists")]
    with serving(tmp_path, *tables) as server:
        before = asyncio.run(answers(server.url, "lists"))
        of_lists = _worker_of(server, files["lists"])
        (victim,) = set(server.workers()) - {of_lists}
        with ThreadPoolExecutor(1) as pool:
            asked = [pool.submit(asyncio.run, answers(server.url, "lists")) for _ in range(4)]
            os.kill(victim, signal.SIGKILL)
            assert all(rounded(task.result()) == rounded(before) for task in asked)
        assert of_lists in server.workers()
        wait_for(lambda: state(server, "included") == "ready")


def _worker_of(server: Server, file: Path) -> int:
    """Returns the worker process that has mapped a file."""
    (pid,) = [pid for pid in server.workers() if str(file) in Path(f"/proc/{pid}/maps").read_text()]
    return pid


@pytest.mark.parametrize("is_one", [True, False])
def test_a_service_without_any_model_ends(tmp_path: Path, *, is_one: bool) -> None:
    """If each model fails, the process ends with status 1 and says why."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and then nothing")
    tables = [{"name": "a", "model": broken}, {"name": "b", "model": tmp_path / "missing.gguf"}]
    file = write_models_file(tmp_path / "models.toml", *tables[: 1 if is_one else 2])
    server = start(models_file=str(file), threads="1")
    log = server.wait()
    assert server.process.returncode == 1
    assert "broken.gguf" in log
    assert is_one or "missing.gguf does not exist" in log
    assert "Traceback" not in log


def test_defaults_that_do_not_fit(files: dict[str, Path], tmp_path: Path) -> None:
    """A default task that the model lacks fails that model; the reason lists its tasks."""
    tables: list[Table] = [
        {"name": "a", "model": files["lists"], "defaults": {"task": "other"}},
        {"name": "b", "model": files["lists"]},
    ]
    with serving(tmp_path, *tables) as server:
        models = httpx.get(f"{server.url}/readyz", verify=NO_TLS).json()["models"]
    assert models["b"]["state"] == "ready"
    assert models["a"]["reason"] == "defaults.task is 'other'; the model's tasks are: search"


def test_a_model_is_loaded_on_its_first_use(files: dict[str, Path], tmp_path: Path) -> None:
    """Before it is loaded its tasks are known; a request loads it, and waits for it."""
    tables: list[Table] = [
        {"name": "a", "model": files["tied"]},
        {"name": "b", "model": files["lists"], "load": "first_use"},
    ]
    with serving(tmp_path, *tables) as server, server.client() as client:
        assert state(server, "b") == "unloaded"
        assert len(server.workers()) == 1
        body = client.get("/v1/models/b").json()
        assert (body["state"], list(body["tasks"])) == ("unloaded", ["search"])
        query = {"query": "cars of two kinds", "model": "b"}
        late = client.post("/v1/reformulate", json={**query, "timeout_ms": 1}).json()
        assert late["results"][0]["fallback_reason"] == "deadline_exceeded"
        assert late["results"][0]["queries"] == ["cars of two kinds"]
        answer = client.post("/v1/reformulate", json=query).json()
        assert answer["results"][0]["queries"] == ["blue cars", "fast cars"]
        assert state(server, "b") == "ready"
        assert len(server.workers()) == 2


def test_a_deadline_that_passes_while_a_model_loads(files: dict[str, Path], tmp_path: Path) -> None:
    """OpenAI's routes and strict requests get 504, others the query, streams their events."""
    tables: list[Table] = [
        {"name": f"m{number}", "model": files["lists"], "load": "first_use"} for number in range(4)
    ]
    with serving(tmp_path, *tables, timeout_ms="50") as server, server.client() as client:
        query = {"query": "cars of two kinds"}
        strict = client.post("/v1/reformulate", json={**query, "model": "m0", "strict": True})
        assert strict.status_code == 504
        assert strict.json()["error"]["code"] == "deadline_exceeded"
        body = {"model": "m1", "prompt": "a"}
        assert client.post("/v1/completions", json=body).status_code == 504
        text = client.post("/v1/reformulate", json={**query, "model": "m2", "stream": True}).text
        events = [line for line in text.splitlines() if line.startswith("event: ")]
        assert events == ["event: result", "event: done"]
        assert '"fallback_reason":"deadline_exceeded"' in text.replace(" ", "")
        assert 'reason="deadline_exceeded"' in client.get("/metrics").text


def test_the_longest_unused_model_makes_room(files: dict[str, Path], tmp_path: Path) -> None:
    """Within the memory budget models take turns; one that loads at the start is never unloaded."""
    tables: list[Table] = [
        {"name": "first", "model": files["lists"]},
        {"name": "a", "model": files["lists"], "load": "first_use"},
        {"name": "b", "model": files["lists"], "load": "first_use"},
        {"name": "c", "model": files["lists"], "load": "first_use"},
    ]
    budget = 3 * 2 * files["lists"].stat().st_size  # for three of them, with a worker each
    with serving(tmp_path, *tables, models_bytes=str(budget)) as server, server.client() as client:

        def ask(model: str) -> None:
            body = {"query": "cars of two kinds", "model": model}
            answer = client.post("/v1/reformulate", json=body).json()
            assert answer["results"][0]["queries"] == ["blue cars", "fast cars"]

        for name in ("a", "b", "a", "c"):
            ask(name)
        assert [state(server, name) for name in ("first", "a", "b", "c")] == [
            "ready",
            "ready",
            "unloaded",
            "ready",
        ]
        with ThreadPoolExecutor(6) as pool:  # more models than fit, at once
            list(pool.map(ask, ["a", "b", "c"] * 4))
        assert len(server.workers()) <= 3


def test_models_that_exceed_the_budget(files: dict[str, Path], tmp_path: Path) -> None:
    """Models that load at the start must fit; one on first use that can't fit has failed."""
    size = files["lists"].stat().st_size
    tables: list[Table] = [
        {"name": "a", "model": files["tied"]},
        {"name": "b", "model": files["lists"], "load": "first_use"},
    ]
    with serving(tmp_path, *tables, models_bytes=str(2 * size - 1)) as server:
        models = httpx.get(f"{server.url}/readyz", verify=NO_TLS).json()["models"]
    assert models["b"]["state"] == "failed"
    assert "T5SERVE_MODELS_BYTES" in models["b"]["reason"]
    file = tmp_path / "models.toml"
    assert "T5SERVE_MODELS_BYTES" in start(models_file=str(file), models_bytes="1").wait()


def test_an_unused_model_is_unloaded(files: dict[str, Path], tmp_path: Path) -> None:
    """After its idle time a model is unloaded, and loaded again on its next use."""
    tables: list[Table] = [
        {"name": "a", "model": files["tied"]},
        {"name": "b", "model": files["lists"], "idle_minutes": 0.02},
    ]
    with serving(tmp_path, *tables) as server, server.client() as client:
        wait_for(lambda: state(server, "b") == "unloaded")
        wait_for(lambda: len(server.workers()) == 1)
        body = {"query": "cars of two kinds", "model": "b"}
        answer = client.post("/v1/reformulate", json=body).json()
        assert answer["results"][0]["queries"] == ["blue cars", "fast cars"]


def test_the_command_line_takes_a_name(files: dict[str, Path], tmp_path: Path) -> None:
    """`--model` is a name of the file of models, where that is set."""
    tables = [{"name": name, "model": files[name]} for name in ("tied", "lists")]
    file = write_models_file(tmp_path / "models.toml", *tables)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"T5SERVE_MODELS_FILE": str(file), "T5SERVE_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-m", "t5serve", *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    chosen = run("reformulate", "--model", "lists", "cars of two kinds")
    assert chosen.stdout.splitlines() == ["blue cars", "fast cars"]
    unknown = run("reformulate", "--model", "other", "cars of two kinds")
    assert unknown.returncode == 1
    assert "there is no model 'other'; its models are: tied, lists" in unknown.stderr
    both = run("serve", "--model", "tiny-t5", "--port", "0")
    assert both.returncode == 1
    assert "T5SERVE_MODEL and T5SERVE_MODELS_FILE exclude each other" in both.stderr
    plan = run("doctor", "--json", "--model", "lists")
    threads = [one["value"] for one in json.loads(plan.stdout) if one["name"] == "threads"]
    assert [value.partition(":")[0] for value in threads] == ["tied", "lists"]
