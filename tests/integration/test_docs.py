"""The examples of docs/api.md, run as they stand there, and its tables against the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from support.serving import Server, start, stop
from t5serve.errors import ERROR_RESPONSES
from t5serve.http.endpoints import OPEN_ENDPOINTS
from t5serve.http.schemas.completions import CompletionRequest
from t5serve.http.schemas.reformulate import ReformulateRequest
from t5serve.reformulation.candidates import UnchangedReason

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


def run_command(marker: str, server: Server) -> str:
    """Runs the shell command that has the marker, against the test's server."""
    (command,) = [code for language, code in BLOCKS if language == "sh" and marker in code]
    return run(["/bin/sh", "-c", command.replace("http://127.0.0.1:8000", server.url)])


def test_curl(server: Server) -> None:
    """The commands answer with what the native route says."""
    body = {"query": "how do i clean a laptop screen"}
    with server.client() as client:
        (result,) = client.post("/v1/reformulate", json=body).json()["results"]
    completion = json.loads(run_command("v1/completions", server))
    assert [completion["choices"][0]["text"]] == result["queries"]
    (several,) = json.loads(run_command('"n": 3', server))["results"]
    assert several["original"] == body["query"]
    assert 1 <= len(several["queries"]) <= 3


def test_stream(server: Server) -> None:
    """The streaming command gives tokens, a result and the rest."""
    events = re.findall(r"event: (\w+)\ndata: (.*)\n", run_command("curl -sN", server))
    assert [name for name, _ in events][-2:] == ["result", "done"]
    text = "".join(json.loads(data)["text"] for name, data in events if name == "token")
    assert [text] == json.loads(events[-2][1])["queries"]


def test_every_field_of_a_request_is_described() -> None:
    """The tables have each field of a request, and each reason for an unchanged query."""
    section = PAGE.split("## Reformulate\n")[1].split("\n## ")[0]
    listed = set(re.findall(r"`(\w+)`", section))
    assert set(ReformulateRequest.model_fields) <= listed
    assert set(get_args(UnchangedReason)) <= listed


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
        subjects = ("laptop", "shoes", "population")
        assert all(any(word in line.lower() for word in subjects) for line in lines)


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
