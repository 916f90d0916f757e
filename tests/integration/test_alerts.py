"""docker/alerts.yaml against what a running service exports."""

from __future__ import annotations

import re
import resource
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from support.prometheus import Series, export_series, groupings, matches, selectors
from support.serving import Server
from t5serve.errors import ERROR_RESPONSES

DOCKER = Path(__file__).parents[2] / "docker"
(GROUP,) = yaml.safe_load((DOCKER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}
TARGET = {"instance": "t5serve:8000", "job": "t5serve"}
"""The labels that Prometheus adds to what it reads."""


@pytest.fixture(scope="module")
def series(server: Server) -> Series:
    """What Prometheus has of the service, in which every error has occurred."""
    found = export_series(server)
    for error in ERROR_RESPONSES.values():
        labels = {"route": "/v1/reformulate", "status": str(error.status)}
        found["t5serve_requests_total"].append(labels)
    return {name: [labels | TARGET for labels in each] for name, each in found.items()}


@pytest.mark.parametrize("alert", ALERTS)
def test_expression(series: Series, alert: str) -> None:
    """Each selector finds a series of the service, each grouping a label of what it groups."""
    parsed = promql.parse(ALERTS[alert]["expr"])
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


def test_memory_of_the_processes(server: Server) -> None:
    """The service's memory and that of its worker are those of the processes."""
    with server.client() as client:
        text = client.get("/metrics").text
    (worker,) = re.findall(r"^t5serve_worker_resident_memory_bytes{.*} (\S+)$", text, re.MULTILINE)
    (process,) = re.findall(r"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)
    pages = [
        int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        for pid in (server.process.pid, *server.workers())
    ]
    expected = [count * resource.getpagesize() for count in pages]
    assert [float(process), float(worker)] == pytest.approx(expected, rel=0.2)
