"""The examples of docs/api.md, run as they stand there, and its tables against the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.serving import Server, start, stop
from t5serve.errors import ERROR_RESPONSES
from t5serve.http.endpoints import OPEN_ENDPOINTS
from t5serve.http.schemas.completions import CompletionRequest

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
LINES = {  # of output, by what only one example has
    "httpx.post": 3,
    "seed=1": 4,
    "num_beams": 1,
    "AsyncOpenAI": 2,
    "stream=True": 1,
    "llm.batch": 1,
    "MultiQueryRetriever": 3,
    "QueryExpander": 1,
    "QueryFusionRetriever": 4,
}


def run(command: list[str]) -> str:
    environment = {**os.environ, "HAYSTACK_TELEMETRY_ENABLED": "False"}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_curl(server: Server) -> None:
    """The command answers with what the native route says."""
    (command,) = [code for language, code in BLOCKS if language == "sh"]
    answer = json.loads(
        run(["/bin/sh", "-c", command.replace("http://127.0.0.1:8000", server.url)])
    )
    body = {"query": "how do i clean a laptop screen"}
    with server.client() as client:
        (result,) = client.post("/v1/reformulate", json=body).json()["results"]
    assert [answer["choices"][0]["text"]] == result["queries"]


def test_every_example_is_run() -> None:
    """None is left out below."""
    assert len(PYTHON) == len(LINES)
    for marker in LINES:
        assert len([code for code in PYTHON if marker in code]) == 1


@pytest.mark.parametrize("marker", LINES)
def test_python(server: Server, marker: str) -> None:
    """Each example runs, and prints as many lines as it should, with something in each."""
    (code,) = [code for code in PYTHON if marker in code]
    assert "http://127.0.0.1:8000" in code
    lines = run(
        [sys.executable, "-c", code.replace("http://127.0.0.1:8000", server.url)]
    ).splitlines()
    assert len(lines) == LINES[marker]
    assert all(line.strip() for line in lines)
    if marker != "seed=1":  # samples may say anything
        assert all("laptop" in line.lower() or "shoes" in line.lower() for line in lines)


def test_tables() -> None:
    """Every status and code, every field of completions, every open path, every metric."""
    for answer in ERROR_RESPONSES.values():
        assert re.search(rf"^\| {answer.status} .*{answer.code or 'none'}", PAGE, re.MULTILINE)
    for name in CompletionRequest.model_fields:
        assert re.search(rf"^\| .*`{name}(\.\w+)?`", PAGE, re.MULTILINE)
    for path in (endpoint.path.partition("{")[0] for endpoint in OPEN_ENDPOINTS):
        assert f"`{path}`" in PAGE


def test_metrics() -> None:
    """Those that are listed are those that there are, as a user starts the service."""
    running = start(cache_bytes="")
    running.wait_until_ready()
    with running.client() as client:
        assert client.post("/v1/reformulate", json={"query": "a"}).status_code == 200
        text = client.get("/metrics").text
    stop(running)
    there = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    there = {name for name in there if not name.endswith("_created")}
    assert set(re.findall(r"`(process_\w+)`", PAGE)) <= there
    there = {name for name in there if not name.startswith("process_")}
    assert set(re.findall(r"`(t5serve_\w+)`", PAGE)) == there
