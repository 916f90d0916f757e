"""The requests of docs/search-engines.md, in the form in which search engines send them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from string import Template
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest

from support.reading import read_json_path
from support.serving import Server

PAGE = Path(__file__).parents[2] / "docs" / "search-engines.md"
URL, RERANK_URL = "http://127.0.0.1:8000", "http://127.0.0.1:8001"
QUERIES = ["how do i clean a laptop screen", 'the "best" cafe\\bar in \u00c5rhus']
DOCUMENTS = [
    "Wipe the display with a soft, slightly damp cloth.",
    "The best laptops of the year, tested.",
    "How to cook rice.",
]


def read_blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


CONNECTOR, MODEL, PIPELINE, INFERENCE = map(json.loads, read_blocks("json"))


def fill(template: str, values: dict[str, str]) -> str:
    """Fills `${name}` and `${group.name}`, as the engines do."""
    names = {name: name.replace(".", "_") for name in values}
    for name, plain in names.items():
        template = template.replace(f"${{{name}}}", f"${{{plain}}}")
    return Template(template).substitute({names[name]: text for name, text in values.items()})


def escape(text: str) -> str:
    """Returns a text as it stands between the quotes of JSON."""
    return json.dumps(text)[1:-1]


@pytest.mark.parametrize("query", QUERIES)
def test_opensearch_rewrites_a_query(server: Server, query: str) -> None:
    """The connector's request is answered, and the pipeline's paths build a query from it.

    ML Commons escapes the parameters, and puts the answer into dataAsMap.
    """
    (action,) = CONNECTOR["actions"]
    (processor,) = PIPELINE["request_processors"]
    inference = processor["ml_inference"]
    ((parameter, source),) = inference["input_map"][0].items()
    search = {"query": {"match": {"text": {"query": query}}}}
    (found,) = read_json_path(search, source)
    values = {**CONNECTOR["parameters"], parameter: escape(found)}
    body = fill(
        action["request_body"], {f"parameters.{name}": text for name, text in values.items()}
    )
    headers = {
        name: fill(text, {"credential.key": CONNECTOR["credential"]["key"]})
        for name, text in action["headers"].items()
    }
    answer = httpx.request(
        action["method"], action["url"].replace(URL, server.url), content=body, headers=headers
    )
    assert answer.status_code == 200, answer.text
    outcome = {"inference_results": [{"output": [{"dataAsMap": answer.json()}]}]}
    outputs = {
        name: escape(read_json_path(outcome, path)[0])
        for name, path in inference["output_map"][0].items()
    }
    rewritten = json.loads(fill(inference["query_template"], outputs))
    first, second = (clause["match"]["text"] for clause in rewritten["query"]["bool"]["should"])
    assert first == {"query": query}
    assert second == {"query": answer.json()["results"][0]["queries"][0], "boost": 0.3}
    assert MODEL["function_name"] == "remote"


def test_elasticsearch_reranks(rerank_server: Server) -> None:
    """The template is filled with JSON, and the answer is read by the paths."""
    settings = INFERENCE["service_settings"]
    values = {"query": json.dumps(QUERIES[1]), "input": json.dumps(DOCUMENTS)}
    headers = {
        name: fill(text, settings["secret_parameters"])
        for name, text in settings["headers"].items()
    }
    answer = httpx.post(
        settings["url"].replace(URL, rerank_server.url),
        content=fill(settings["request"], values),
        headers=headers,
    )
    assert answer.status_code == 200, answer.text
    paths = settings["response"]["json_parser"]
    assert sorted(read_json_path(answer.json(), paths["reranked_index"])) == [0, 1, 2]
    scores = read_json_path(answer.json(), paths["relevance_score"])
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_vespa_completes_a_prompt(server: Server, is_streamed: bool) -> None:  # noqa: FBT001
    """The request of Vespa's client, which is OpenAI's for Java: one message, and the options.

    Source: OpenAICompatibleClient.java of vespa-engine/vespa, and openai-java.
    """
    config = next(ET.fromstring(read_blocks("xml")[0]).iter("config"))  # noqa: S314 - our page
    options = {child.tag: child.text or "" for child in config}
    body: dict[str, Any] = {
        "messages": [{"content": QUERIES[0], "role": "user"}],
        "model": options["model"],
        "max_completion_tokens": int(options["maxTokens"]),
        "temperature": float(options["temperature"]),
    }
    if is_streamed:
        body["stream"] = True
    headers = {
        "Authorization": "Bearer none",
        "User-Agent": "OpenAIClientImpl/Java 4.0.0",
        "X-Stainless-Lang": "java",
        "Content-Type": "application/json",
    }
    url = options["endpoint"].replace(URL, server.url) + "/chat/completions"
    answer = httpx.post(url, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    if is_streamed:
        events = [
            line.removeprefix("data: ")
            for line in answer.text.splitlines()
            if line.startswith("data: ")
        ]
        assert events.pop() == "[DONE]"
        deltas = [json.loads(event)["choices"][0] for event in events]
        text = "".join(delta["delta"].get("content") or "" for delta in deltas)
        assert deltas[-1]["finish_reason"] == "stop"
    else:
        (choice,) = answer.json()["choices"]
        text = choice["message"]["content"]
        assert choice["finish_reason"] == "stop"
    expected = httpx.post(f"{server.url}/v1/reformulate", json={"query": QUERIES[0]}).json()
    assert text.splitlines()[0] == expected["results"][0]["queries"][0]


def test_pyterrier_rewrites_and_reranks(server: Server, rerank_server: Server) -> None:
    """The page's program runs as it stands, and the reranker's scores order the documents."""
    pytest.importorskip("pyterrier")
    (code,) = read_blocks("python")
    code = code.replace(RERANK_URL, rerank_server.url).replace(URL, server.url)
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    scores = [float(line.split()[-1]) for line in ran.stdout.splitlines()[1:]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
