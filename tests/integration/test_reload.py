"""Reloads of keys, models and lexicons: SIGHUP and POST /admin/reload."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.overloading import busy, standing_still, wait_for
from support.serving import NO_TLS, Server, start, stop
from support.several import Table, build_models, rename, write_models_file

Json = dict[str, Any]
ADMIN, KEY = "an operator's key", "a client's key"
UNHURRIED: dict[str, str] = {"threads": "1", "timeout_ms": "60000"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four small models."""
    return build_models(tmp_path_factory.mktemp("several"))


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Server]:
    """A service with a key for operators."""
    keys = folder / "admin"
    keys.write_text(ADMIN, encoding="utf-8")
    server = start(admin_keys_file=str(keys), **{**UNHURRIED, **settings})
    try:
        server.wait_until_ready()
        yield server
    finally:
        log = stop(server)
        assert "Traceback" not in log, log


def reload(server: Server, key: str = ADMIN) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{server.url}/admin/reload", headers=headers, timeout=120)


def ask(server: Server, key: str = KEY, **body: object) -> Json:
    headers = {"authorization": f"Bearer {key}"}
    url = f"{server.url}/v1/reformulate"
    response = httpx.post(
        url, json={"query": "weather in oslo", **body}, headers=headers, timeout=120
    )
    answer: Json = response.json()
    return answer


def fingerprint(server: Server, model: str) -> str:
    body = {"model": model, "prompt": "a", "max_tokens": 1}
    response = httpx.post(f"{server.url}/v1/completions", json=body, timeout=120)
    return str(response.json()["system_fingerprint"])


def report(response: httpx.Response) -> Json:
    assert response.status_code == 200, response.text
    body: Json = response.json()
    assert body.pop("status") == "reloaded"
    return {name: models for name, models in body.items() if models}


def test_the_route_needs_an_operators_key(tmp_path: Path) -> None:
    """A client's key does not open it, and an operator's key opens nothing else."""
    keys = tmp_path / "keys"
    keys.write_text(KEY, encoding="utf-8")
    with running(tmp_path, api_keys_file=str(keys)) as server:
        assert reload(server, KEY).status_code == 401
        assert httpx.post(f"{server.url}/admin/reload").status_code == 401
        assert reload(server).status_code == 200
        assert ask(server, ADMIN)["error"]["code"] == "invalid_api_key"
        assert "results" in ask(server)


def test_without_operators_the_route_does_not_exist(server: Server) -> None:
    """Without T5SERVE_ADMIN_KEYS_FILE it is 404, whatever the key."""
    response = reload(server)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


def test_keys_are_read_again(tmp_path: Path) -> None:
    """A new key opens and an old one does not; a file without keys leaves them as they were."""
    keys = tmp_path / "keys"
    keys.write_text(KEY, encoding="utf-8")
    with running(tmp_path, api_keys_file=str(keys)) as server:
        keys.write_text("another", encoding="utf-8")
        assert "results" in ask(server)
        assert report(reload(server)) == {"unchanged": ["tiny-t5"]}
        assert "results" in ask(server, "another")
        assert ask(server)["error"]["code"] == "invalid_api_key"
        keys.write_text("# none\n", encoding="utf-8")
        (tmp_path / "admin").write_text("a new operator", encoding="utf-8")
        failed = reload(server)
        assert failed.status_code == 422
        assert failed.json()["error"]["code"] == "reload_failed"
        assert "T5SERVE_API_KEYS_FILE" in failed.json()["error"]["message"]
        assert "results" in ask(server, "another")
        assert reload(server).status_code == 422  # the operators' keys are as they were, too


def test_a_changed_file_takes_over(files: dict[str, Path], tmp_path: Path) -> None:
    """The name in the file and the fingerprint change; the same file again changes nothing."""
    path = rename(files["lists"], tmp_path / "model.gguf", "first")
    with running(tmp_path, model=str(path)) as server:
        assert ask(server)["model"] == "first"
        worker, before = server.workers(), fingerprint(server, "first")
        assert report(reload(server)) == {"unchanged": ["first"]}
        shutil.copy(path, tmp_path / "copy")
        (tmp_path / "copy").replace(path)  # another file with the same content
        assert report(reload(server)) == {"unchanged": ["first"]}
        assert server.workers() == worker
        rename(files["lists"], path, "second")
        assert report(reload(server)) == {"changed": ["second"]}
        assert ask(server)["model"] == "second"
        assert fingerprint(server, "second") != before
        wait_for(lambda: len(server.workers()) == 1)
        assert server.workers() != worker
        metrics = httpx.get(f"{server.url}/metrics", verify=NO_TLS).text
        assert 't5serve_model_info{description="model.gguf' in metrics
        assert 't5serve_ready{model="second"} 1.0' in metrics
        assert 't5serve_ready{model="first"}' not in metrics
        assert 't5serve_reloads_total{outcome="succeeded"} 3.0' in metrics


def test_a_bad_file_leaves_the_old_one_serving(files: dict[str, Path], tmp_path: Path) -> None:
    """A file that can't be loaded, or is gone, is said in the answer and in the log."""
    path = rename(files["lists"], tmp_path / "model.gguf", "first")
    with running(tmp_path, model=str(path)) as server:
        worker = server.workers()
        (tmp_path / "bad").write_bytes(b"GGUF and then nothing")
        (tmp_path / "bad").replace(path)
        failed = reload(server)
        assert failed.status_code == 422
        message = failed.json()["error"]["message"]
        assert str(path) in message
        assert "the model from before serves on" in message
        path.unlink()
        assert "does not exist" in reload(server).json()["error"]["message"]
        assert ask(server)["model"] == "first"
        assert server.workers() == worker
        assert httpx.get(f"{server.url}/readyz", verify=NO_TLS).status_code == 200
        assert (
            't5serve_reloads_total{outcome="failed"} 2.0'
            in httpx.get(f"{server.url}/metrics", verify=NO_TLS).text
        )


def test_models_come_and_go(files: dict[str, Path], tmp_path: Path) -> None:
    """Models are added, removed and replaced by the file; those that stay are not touched."""
    tables: dict[str, Table] = {
        "a": {"name": "a", "model": files["tied"]},
        "b": {"name": "b", "model": files["lists"]},
        "c": {"name": "c", "model": files["lists"], "load": "first_use"},
    }
    path = write_models_file(tmp_path / "models.toml", tables["a"], tables["b"])
    with running(tmp_path, models_file=str(path)) as server:
        workers = set(server.workers())
        write_models_file(path, tables["a"], tables["b"], tables["c"])
        assert report(reload(server)) == {"added": ["c"], "unchanged": ["a", "b"]}
        assert set(server.workers()) == workers
        assert ask(server, model="c")["model"] == "c"
        write_models_file(path, {**tables["b"], "defaults": {"n": 1}}, tables["a"])
        assert report(reload(server)) == {"changed": ["b"], "removed": ["c"], "unchanged": ["a"]}
        assert ask(server)["model"] == "b"  # the first is the default
        assert len(ask(server, query="cars of two kinds")["results"][0]["queries"]) == 1
        assert ask(server, model="c")["error"]["code"] == "model_not_found"
        wait_for(lambda: len(server.workers()) == 2)
        assert len(set(server.workers()) & workers) == 1
        write_models_file(path, tables["a"], {"name": "d", "model": tmp_path / "missing.gguf"})
        failed = reload(server).json()["error"]["message"]
        assert "missing.gguf does not exist" in failed
        assert "removed: b" in failed
        assert ask(server)["model"] == "a"
        path.write_text("[[models]]\nname = 1", encoding="utf-8")
        assert "models[0].name" in reload(server).json()["error"]["message"]
        assert ask(server)["model"] == "a"


def test_a_model_that_failed_is_tried_again(files: dict[str, Path], tmp_path: Path) -> None:
    """A reload loads a model whose file was missing at the start."""
    missing = tmp_path / "late.gguf"
    tables = [{"name": "a", "model": files["tied"]}, {"name": "b", "model": missing}]
    path = write_models_file(tmp_path / "models.toml", *tables)
    with running(tmp_path, models_file=str(path)) as server:
        assert ask(server, model="b")["error"]["code"] == "not_ready"
        shutil.copy(files["lists"], missing)
        assert report(reload(server)) == {"changed": ["b"], "unchanged": ["a"]}
        assert ask(server, model="b")["model"] == "b"


def test_a_lexicon_is_read_again(tmp_path: Path) -> None:
    """Other words count at once, in the same worker; a bad file leaves the words as they were."""
    words = tmp_path / "words.tsv"
    words.write_text("hummus\t900\nrecipe\t900\n", encoding="utf-8")
    question = {"query": "zzyzx hummos recipe", "task": "fix"}
    with running(tmp_path, lexicon=str(words)) as server:
        workers = server.workers()
        first = ask(server, **question)["results"][0]["queries"]
        assert "hummus" in first[0]
        words.write_text("hummos\t900\nrecipe\t900\n", encoding="utf-8")
        assert report(reload(server)) == {"changed": ["tiny-t5"]}
        second = ask(server, **question)["results"][0]["queries"]
        assert "hummos" in second[0]
        words.write_text("hummus\tmany\n", encoding="utf-8")
        assert "line 1" in reload(server).json()["error"]["message"]
        assert ask(server, **question)["results"][0]["queries"] == second
        assert server.workers() == workers


def test_a_hangup_is_harmless() -> None:
    """SIGHUP while the model loads, to the worker, and during the drain ends nothing."""
    server = start(**UNHURRIED)
    try:
        wait_for(lambda: bool(server.workers()))
        for _ in range(5):
            server.process.send_signal(signal.SIGHUP)
        server.wait_until_ready()
        (worker,) = server.workers()
        os.kill(worker, signal.SIGHUP)
        server.process.send_signal(signal.SIGHUP)
        assert ask(server)["model"] == "tiny-t5"
        assert server.workers() == [worker]
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGHUP)
    finally:
        log = server.wait()
    assert server.process.returncode == -signal.SIGTERM
    assert "Traceback" not in log
    assert "reloaded" in log


def test_early_answers_are_the_new_models(files: dict[str, Path], tmp_path: Path) -> None:
    """Under overload, after a reload, a refused request is answered for the new model."""
    path = rename(files["lists"], tmp_path / "model.gguf", "first")
    tiny = {"max_batch": "1", "max_queue": "1", "max_queries": "1", "stall_seconds": "60"}
    with running(tmp_path, model=str(path), **tiny) as server:

        def names_under_overload() -> set[str]:
            with _overloaded(server):
                answers = [ask(server, query="a") for _ in range(9)]
            reasons = [answer["results"][0]["fallback_reason"] for answer in answers]
            assert reasons == ["queue_full"] * 9
            return {answer["model"] for answer in answers}

        assert names_under_overload() == {"first"}
        rename(files["lists"], path, "second")
        assert report(reload(server)) == {"changed": ["second"]}
        wait_for(lambda: len(server.workers()) == 1)
        assert names_under_overload() == {"second"}


@contextmanager
def _overloaded(server: Server) -> Iterator[None]:
    """Meanwhile a request runs and another waits, and neither goes on."""
    with ThreadPoolExecutor(2) as pool, standing_still(server):
        tasks = [pool.submit(ask, server, strict=True) for _ in range(2)]
        wait_for(lambda: busy(server) == (1, 1))
        yield
        assert not any(task.done() for task in tasks)
