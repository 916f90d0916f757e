"""docker/kubernetes: its queries against a running service, its init container's command run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from support import hub_server, serving, tiny
from support.hub_server import Hub
from support.kustomize import KUBERNETES, Composition
from support.programs import require_program
from support.prometheus import Series, export_series, groupings, matches, selectors
from support.serving import Server
from t5serve.errors import ERROR_RESPONSES

RULES = Composition(KUBERNETES / "overlays/metrics").find("PrometheusRule")
(GROUP,) = RULES["spec"]["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}
TARGET = {"namespace": "t5serve", "pod": "t5serve-0", "service": "t5serve", "job": "t5serve"}
"""Of the labels that Prometheus adds to what it reads from a pod behind a Service."""
MODEL = "t5-query-reformulation-rl"
REPO = "prhegde/t5-query-reformulation-RL"


def scaling_queries() -> Iterator[str]:
    """The queries of KEDA, and those of the adapter with its placeholders filled in."""
    keda = Composition(KUBERNETES / "overlays/autoscaled-keda").find("ScaledObject")
    for trigger in keda["spec"]["triggers"]:
        if trigger["type"] == "prometheus":
            yield trigger["metadata"]["query"]
    path = KUBERNETES / "overlays/autoscaled-hpa/prometheus-adapter.yaml"
    for rule in yaml.safe_load(path.read_text(encoding="utf-8"))["rules"]["custom"]:
        yield rule["seriesQuery"]
        query = rule["metricsQuery"].replace("<<.Series>>", rule["seriesQuery"].split("{")[0])
        query = query.replace(
            "<<.LabelMatchers>>", 'namespace="t5serve",pod=~"t5serve-0|t5serve-1"'
        )
        yield query.replace("<<.GroupBy>>", "pod")


EXPRESSIONS = [*(rule["expr"] for rule in ALERTS.values()), *scaling_queries()]


@pytest.fixture(scope="module")
def series(server: Server) -> Series:
    """What Prometheus has of the service, in which every error has occurred."""
    found = export_series(server)
    for error in ERROR_RESPONSES.values():
        found["t5serve_fallbacks_total"].append({"model": "tiny-t5", "reason": error.code or ""})
        labels = {"route": "/v1/reformulate", "status": str(error.status)}
        found["t5serve_requests_total"].append(labels)
    return {name: [labels | TARGET for labels in each] for name, each in found.items()}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression(series: Series, expression: str) -> None:
    """Each selector finds a series of the service, each grouping a label of what it groups."""
    parsed = promql.parse(expression)
    assert selectors(parsed)
    for selector in selectors(parsed):
        assert selector.name in series
        assert any(matches(selector, labels) for labels in series[selector.name]), selector
    for labels, aggregated in groupings(parsed):
        for selector in selectors(aggregated):
            assert set(labels) <= set(series[selector.name or ""][0])


@pytest.mark.parametrize("alert", ALERTS)
def test_texts(series: Series, alert: str) -> None:
    """Each label in an alert's texts is one that its expression keeps."""
    rule = ALERTS[alert]
    parsed = promql.parse(rule["expr"])
    kept = {label for labels, _ in groupings(parsed) for label in labels}
    if not groupings(parsed):
        kept = {label for each in selectors(parsed) for label in series[each.name or ""][0]}
    texts = rule["annotations"]
    assert texts.keys() == {"summary", "description"}
    named = set(re.findall(r"{{ \$labels\.(\w+) }}", " ".join(texts.values())))
    assert named <= kept
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_half_of_the_queue() -> None:
    """The alert on a long queue fires at half of its limit."""
    bound = promql.parse(ALERTS["T5serveQueueLong"]["expr"])
    assert isinstance(bound, promql.BinaryExpr)
    assert str(bound.rhs).removesuffix("{}") == "0.5 * t5serve_queue_limit"


def composed_fetch(models: Path) -> tuple[list[str], dict[str, str]]:
    """The command of the init container and its variables, with a folder in the volume's place."""
    component = KUBERNETES / "components/fetched-model"
    composition = Composition(KUBERNETES / "base", component)
    (container,) = composition.find("Deployment")["spec"]["template"]["spec"]["initContainers"]
    settings = composition.find("ConfigMap")["data"]
    assert settings["T5SERVE_MODEL"] == MODEL
    command = [
        part.replace("$(T5SERVE_MODEL)", MODEL).replace("/models", str(models))
        for part in container["command"]
    ]
    return command, {"T5GGUF_MODELS": settings["T5GGUF_MODELS"].replace("/models", str(models))}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.serve() as running:
        yield running


def test_init_container(hub: Hub, tmp_path: Path) -> None:
    """Two pods that start together fetch once, a later one needs no hub, the model is served."""
    require_program("flock", "util-linux")
    hub.commit(REPO, hub_server.of_directory(tiny.build("tied_relu", tmp_path / "source")))
    models = tmp_path / "models"
    models.mkdir()
    command, variables = composed_fetch(models)
    # In a checkout the command is a module, and the lock file is beside the recipes.
    index = command.index("t5gguf")
    command[index : index + 1] = [sys.executable, "-m", "t5gguf"]
    command += ["--lock", str(models / "lock.json")]
    nowhere = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}  # the root is read-only
    environment = {**os.environ, **variables, **nowhere, "HF_ENDPOINT": hub.url}
    pods = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [pod.wait() for pod in pods] == [0, 0]
    assert len(hub.downloads("model.safetensors")) == 1
    seen = len(hub.seen)
    subprocess.run(command, env=environment, check=True)
    assert len(hub.seen) == seen
    assert {path.name for path in models.glob(".*")} == {".fetch"}
    running = serving.start(model=str(models / f"{MODEL}-Q8_0.gguf"))
    running.wait_until_ready()
    with running.client() as client:
        assert client.get("/v1/models").json()["data"][0]["id"] == MODEL
    serving.stop(running)


def test_included_model_needs_no_fetch(tmp_path: Path) -> None:
    """The same command is done at once with the included model, and needs no hub."""
    require_program("flock", "util-linux")
    command, variables = composed_fetch(tmp_path)
    index = command.index("t5gguf")
    command[index : index + 2] = [sys.executable, "-m", "t5gguf", "fetch"]
    command[command.index(MODEL)] = "tiny-t5"
    environment = {**os.environ, **variables, "HF_ENDPOINT": "http://127.0.0.1:9"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "tiny-t5 is included" in ran.stdout
