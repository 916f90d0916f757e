"""The contract against schemathesis, and against bodies that are wrong in every way.

T5SERVE_FUZZ says how many mutated bodies are sent, T5SERVE_FUZZ_SEED which ones.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from support.serving import Server, start, stop
from t5serve.http.schemas.chat import ChatRequest
from t5serve.http.schemas.completions import CompletionRequest
from t5serve.http.schemas.reformulate import ReformulateRequest
from t5serve.http.schemas.rerank import RerankRequest

Json = dict[str, Any]
BODIES = int(os.environ.get("T5SERVE_FUZZ", "300"))
SEED = int(os.environ.get("T5SERVE_FUZZ_SEED", "1"))
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
# What may rightly end in a 5xx: who asks for strictness or for a millisecond gets it.
STRICT = {"strict", "timeout_ms"}
HOOKS = f"""
import schemathesis

@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    return {{name: value for name, value in body.items() if name not in {sorted(STRICT)}}}
"""
REFUSALS = {400, 404, 413}
ROUTES: dict[str, tuple[type[BaseModel], list[Json]]] = {
    "/v1/reformulate": (
        ReformulateRequest,
        [
            {"query": "how do i learn python"},
            {
                "queries": ["a b", {"id": "1", "text": "c d"}],
                "n": 3,
                "strategy": "beam",
                "preserve": [],
            },
            {"query": "a", "strategy": "sample", "seed": 1, "top_k": 5, "stream": True},
        ],
    ),
    "/v1/completions": (
        CompletionRequest,
        [
            {"model": "tiny-t5", "prompt": "how do i learn python", "temperature": 0},
            {"model": "tiny-t5", "prompt": ["a", "b"], "n": 2, "logprobs": 2, "echo": True},
            {"model": "tiny-t5", "prompt": [[5, 6, 1], [7]], "stop": ["x"], "stream": True},
            {"model": "tiny-t5", "prompt": [5, 6, 1], "logit_bias": {"5": 3}, "num_beams": 2},
        ],
    ),
    "/v1/chat/completions": (
        ChatRequest,
        [
            {"model": "tiny-t5", "messages": [{"role": "user", "content": "learn python"}]},
            {
                "model": "tiny-t5",
                "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
                "response_format": {"type": "json_object"},
                "stream": True,
                "n": 2,
            },
        ],
    ),
}
DEEP: Any = 1
for _ in range(300):
    DEEP = [DEEP]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 16, 17, 10**6, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30),
    *(0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), -float("inf")),
    *("", " ", "a", "\x00", "\u202e", "\u00e9", "\U0001f642", "\ud800", "0", "x" * 5000, "beam"),
    *(
        [],
        [[]],
        [1],
        [1.5],
        [-1],
        [10047],
        [16384],
        [2**64],
        ["a"],
        ["a", 1],
        [["a"]],
        [None],
        DEEP,
    ),
    *({}, {"a": 1}, {"5": 100}, {"-1": 1}, {"16384": 1}, {"5": 1e999}, {"text": "a"}),
    *({"type": "text"}, [{"role": "user", "content": "a"}], [{"role": "user", "content": None}]),
]


@pytest.fixture(scope="module")
def service() -> Iterator[Server]:
    """With a small budget, so that what is taken is soon done."""
    running = start(timeout_ms="60000", max_request_tokens="1000")
    running.wait_until_ready()
    yield running
    stop(running)


def test_schemathesis(service: Server, tmp_path: Path) -> None:
    """No server error, no undocumented status, media type or body."""
    (tmp_path / "contract_hooks.py").write_text(HOOKS, encoding="utf-8")
    command = Path(sys.executable).with_name("schemathesis")
    ran = subprocess.run(
        [
            *(command, "run", f"{service.url}/openapi.json", "--checks", ",".join(CHECKS)),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", str(SEED)),
            *("--generation-database", "none", "--warnings", "off", "--no-color"),
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "SCHEMATHESIS_HOOKS": "contract_hooks"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Tested: 11" in ran.stdout


def mutated(body: Json, names: list[str], draw: random.Random) -> bytes:
    """A body with one to three faults, of its fields or of its bytes."""
    body = json.loads(json.dumps(body))
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        match draw.randrange(8):
            case 0:
                body.pop(draw.choice([*body, "none"]), None)
            case 1:
                body[draw.choice(["", "n ", "quary", "__proto__", "\ud800"])] = draw.choice(VALUES)
            case 2:
                name = draw.choice(list(body) or names)
                body[name] = [body.get(name)] * draw.choice([0, 1, 2, 40])
            case _:
                body[draw.choice(names)] = draw.choice(VALUES)
    raw = bytearray(json.dumps(body).encode())
    if draw.random() < 0.1:
        place = draw.randrange(len(raw))
        match draw.randrange(5):
            case 0:
                raw[place] = draw.randrange(256)
            case 1:
                del raw[place:]
            case 2:
                raw[place:place] = raw[: draw.randrange(len(raw))]
            case 3:
                raw[place:place] = draw.randbytes(3)
            case _:
                raw = bytearray(draw.choice([b"", b"null", b"[]", b"0", b'""', b"\xef\xbb\xbf{}"]))
    return bytes(raw)


def check(response: httpx.Response, model: str = "tiny-t5") -> None:
    """A refusal in the one shape, or an answer, streamed or not."""
    if response.status_code != 200:
        assert response.status_code in REFUSALS
        assert response.json()["error"].keys() == {"message", "type", "param", "code"}
    elif response.headers["content-type"].startswith("text/event-stream"):
        assert b'data: {"error"' not in response.content
        assert response.content.endswith(b"\n\n")
    else:
        assert response.json()["model"] == model


def test_mutated_bodies(service: Server) -> None:
    """Only refusals that the contract knows, or answers; and the service still answers."""
    draw = random.Random(SEED)
    found: Counter[tuple[str, int]] = Counter()
    with service.client() as client:
        for _ in range(BODIES):
            path, (model, bodies) = draw.choice(list(ROUTES.items()))
            names = sorted(set(model.model_fields) - STRICT)
            raw = mutated(draw.choice(bodies), names, draw)
            response = client.post(path, content=raw)
            found[path, response.status_code] += 1
            try:
                check(response)
            except AssertionError:
                pytest.fail(f"{path} {raw!r}\n{response.status_code} {response.text[:2000]}")
        for path, (_, bodies) in ROUTES.items():
            for body in bodies:
                assert client.post(path, json=body).status_code == 200
        assert '\nt5serve_running{model="tiny-t5"} 0.0\n' in client.get("/metrics").text
    print(dict(found))  # noqa: T201 - the figures, with pytest -s
    assert {200, 400} <= {status for _, status in found} <= {200, 400, 404}


RERANKS: list[Json] = [
    {"query": "how do i learn python", "documents": ["a b", "c d"]},
    {
        "model": "reranked",
        "query": "a",
        "documents": [{"text": "a"}, "b"],
        "top_n": 1,
        "return_documents": True,
        "truncate": False,
    },
]


def test_mutated_rerank_bodies(rerank_server: Server) -> None:
    """The same of the route that only some models have."""
    draw = random.Random(SEED)
    names = sorted(set(RerankRequest.model_fields) - STRICT)
    statuses = set()
    with rerank_server.client() as client:
        for _ in range(BODIES // 3):
            raw = mutated(draw.choice(RERANKS), names, draw)
            response = client.post("/v1/rerank", content=raw)
            statuses.add(response.status_code)
            try:
                check(response, "reranked")
            except AssertionError:
                pytest.fail(f"{raw!r}\n{response.status_code} {response.text[:2000]}")
        for body in RERANKS:
            assert client.post("/v1/rerank", json=body).status_code == 200
    assert {200, 400} <= statuses <= {200, 400, 404}
