"""docker/grafana's dashboard and docker/prometheus.yaml against what a running service exports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from support.prometheus import Series, export_series, groupings, matches, selectors
from support.serving import Server

DOCKER = Path(__file__).parents[2] / "docker"
DASHBOARD = json.loads((DOCKER / "grafana/dashboards/t5serve.json").read_text(encoding="utf-8"))
PANELS = DASHBOARD["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def provisioned(kind: str, name: str) -> Any:
    return yaml.safe_load((DOCKER / f"grafana/provisioning/{kind}/{name}.yaml").read_text())


def parse(expression: str) -> promql.Expr:
    """With Grafana's variables filled in as Grafana does."""
    for name, value in (("__rate_interval", "20s"), ("__range", "30m"), ("route", chosen_route())):
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression
    return promql.parse(expression)


def chosen_route() -> str:
    (variable,) = DASHBOARD["templating"]["list"]
    assert variable["name"] == "route"
    return str(variable["current"]["value"])


@pytest.fixture(scope="module")
def series(server: Server) -> Series:
    """What the service exports after an answer, an error and a fallback."""
    return export_series(server)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression(series: Series, expression: str) -> None:
    """Each selector finds a series of the service, each grouping a label of what it groups."""
    parsed = parse(expression)
    for selector in selectors(parsed):
        assert selector.name in series
        assert any(matches(selector, labels) for labels in series[selector.name]), selector
    for labels, aggregated in groupings(parsed):
        for selector in selectors(aggregated):
            assert set(labels) <= set(series[selector.name or ""][0])


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_legend(series: Series, panel: dict[str, Any]) -> None:
    """Each label in a legend is one that the expression keeps."""
    for target in panel["targets"]:
        parsed = parse(target["expr"])
        kept = {label for labels, _ in groupings(parsed) for label in labels}
        if isinstance(parsed, promql.VectorSelector):
            kept |= set(series[parsed.name or ""][0])
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept


def test_route_variable(series: Series) -> None:
    """The routes to choose from are the values of a label that there is."""
    (variable,) = DASHBOARD["templating"]["list"]
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
    assert chosen_route() in {labels[label] for labels in series[name]}


def test_every_metric_is_shown(series: Series) -> None:
    """None is exported that no panel has, but for two of those that every process has."""
    shown = {selector.name for text in EXPRESSIONS for selector in selectors(parse(text))}
    base = re.compile(r"_(bucket|sum|count|total|created)$")
    exported = {base.sub("", name) for name in series}
    unshown = {"process_start_time_seconds", "process_virtual_memory_bytes"}
    assert {base.sub("", name or "") for name in shown} == exported - unshown


def test_provisioning() -> None:
    """The panels' data source and the dashboard's folder are those that Grafana is told of."""
    (source,) = provisioned("datasources", "prometheus")["datasources"]
    used = [target["datasource"] for panel in PANELS for target in panel["targets"]]
    assert {one["uid"] for one in used} == {source["uid"]}
    (provider,) = provisioned("dashboards", "t5serve")["providers"]
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in compose["grafana"]["volumes"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert any(published.endswith(f":{port}") for published in compose[host]["ports"])
    prometheus = yaml.safe_load((DOCKER / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = prometheus["scrape_configs"]
    (rules,) = prometheus["rule_files"]
    assert f"./{rules}:/etc/prometheus/{rules}:ro" in compose["prometheus"]["volumes"]
    assert job["scrape_interval"] == source["jsonData"]["timeInterval"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert any(published.endswith(f":{port}") for published in compose[host]["ports"])


def test_layout() -> None:
    """No panel lies on another, or has another's id."""
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
