"""Queries of Prometheus, and the series of a running service that they are about."""

from __future__ import annotations

import re

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

from support.serving import Server

Series = dict[str, list[dict[str, str]]]
"""Labels, by the name of the series."""


def export_series(server: Server) -> Series:
    """Returns what the service exports after an answer, an error and a fallback."""
    with server.client() as client:
        query = {"query": "how do i clean a laptop screen"}
        assert client.post("/v1/reformulate", json=query).status_code == 200
        late = client.post("/v1/reformulate", json={**query, "n": 16, "timeout_ms": 1}).json()
        assert late["results"][0]["fallback"]
        assert client.post("/v1/reformulate", json={"query": ""}).status_code == 400
        text = client.get("/metrics").text
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def selectors(expression: promql.Expr) -> list[promql.VectorSelector]:
    found: list[promql.VectorSelector] = []

    def visit(node: promql.Expr) -> None:
        if isinstance(node, promql.MatrixSelector):
            found.append(node.vector_selector)
        elif isinstance(node, promql.VectorSelector):
            found.append(node)

    promql.walk(expression, visit)
    return list({str(one): one for one in found}.values())


def groupings(expression: promql.Expr) -> list[tuple[list[str], promql.Expr]]:
    """The labels that each aggregation keeps, and what it aggregates."""
    found: list[tuple[list[str], promql.Expr]] = []

    def visit(node: promql.Expr) -> None:
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            found.append((node.modifier.labels, node.expr))

    promql.walk(expression, visit)
    return found


def matches(selector: promql.VectorSelector, labels: dict[str, str]) -> bool:
    for matcher in selector.matchers.matchers:
        value = labels.get(matcher.name, "")
        if matcher.op == promql.MatchOp.Equal:
            found = value == matcher.value
        elif matcher.op == promql.MatchOp.NotEqual:
            found = value != matcher.value
        else:
            assert matcher.op == promql.MatchOp.Re
            found = re.fullmatch(matcher.value, value) is not None
        if not found:
            return False
    return True
