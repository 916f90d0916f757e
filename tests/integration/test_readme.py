"""The README's examples, run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.serving import Server

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def block(language: str, marker: str) -> str:
    (found,) = [text for kind, text in BLOCKS if kind == language and marker in text]
    return str(found)


def test_curl_gives_the_answer_shown(server: Server) -> None:
    """The command as it stands there gives the answer as it stands there, times and id aside."""
    command = block("sh", "curl -s http").replace("http://127.0.0.1:8000", server.url)
    ran = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    answer, shown = json.loads(ran.stdout), json.loads(block("json", "timings_ms"))
    assert answer.keys() == shown.keys()
    assert answer["timings_ms"].keys() == shown["timings_ms"].keys()
    for body in (answer, shown):
        for result in body["results"]:
            for one in result["reformulations"]:
                for name in ("score", "model_score"):
                    one[name] = pytest.approx(one[name], abs=0.05)
    for key in ("model", "results", "usage"):
        assert answer[key] == shown[key]


def test_openai_client_as_shown(server: Server) -> None:
    """The Python example, run as it stands there."""
    code = block("python", "from openai").replace("http://127.0.0.1:8000", server.url)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (result,) = json.loads(block("json", "timings_ms"))["results"]
    assert ran.stdout.strip() == " ; ".join(result["queries"])


def test_python_gives_the_same() -> None:
    """The example in this process prints the queries of the answer shown."""
    code = block("python", "import Reformulator")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (result,) = json.loads(block("json", "timings_ms"))["results"]
    assert ran.stdout == f"{result['queries']}\n"


def test_terminal_gives_the_same(server: Server) -> None:
    """`t5serve reformulate` prints what the service answers."""
    arguments = ["-m", "t5serve", "reformulate", "which is longer, the rhine or the danube"]
    assert " ".join(arguments[:3]) in block("sh", "t5serve reformulate")
    ran = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    with server.client() as client:
        body = client.post("/v1/reformulate", json={"query": arguments[-1]}).json()
    assert ran.stdout.splitlines() == body["results"][0]["queries"]


def test_length() -> None:
    """The page fits a few screens: the guides have the remainder."""
    assert len(README.splitlines()) <= 120
