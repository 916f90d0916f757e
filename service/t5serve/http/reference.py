"""Renders the OpenAPI document as an HTML page in the style of the web page.

The page reads without JavaScript: each route and each body is a disclosure that its link opens.
`docs.js` adds the search, the copy buttons, the service's address, and a form to try a route.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from t5serve.http.reference_fields import (
    render_code,
    render_description,
    render_fields,
    render_type,
    schema_name,
)

Json = dict[str, Any]
ADDRESS = "http://127.0.0.1:8000"


def render_reference(document: Json) -> str:
    """Renders the page."""
    info = document["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/page.css"><link rel="stylesheet" href="static/docs.css">
<script src="static/theme.js"></script><script type="module" src="static/docs.js"></script></head>
<body><a class="skip" href="#reference">Skip to the reference</a>
<header class="bar">
<a class="brand" href="./"><img src="static/icon.svg" alt="" width="28" height="28">t5serve</a>
<nav aria-label="Service"><a href="./">Page</a>
<button type="button" id="theme" class="quiet" hidden><span>Auto</span>
<span class="wide">theme</span></button></nav></header>
<div class="docs"><aside class="side-bar" aria-label="Search and contents"><div id="tools"></div>
<nav aria-label="Contents">{_render_contents(document)}</nav></aside>
<main id="reference" class="reference" tabindex="-1"><h1>{title}</h1>
<p>{escape(info["description"])} The same for programs: <a href="openapi.json">openapi.json</a>.</p>
<h2>Routes</h2>{"".join(_render_operations(document))}
<h2>Bodies</h2>{"".join(_render_bodies(document))}</main></div></body></html>
"""


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Yields the path, the method and the description of each operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _render_contents(document: Json) -> str:
    routes = [
        f'<li><a href="#{_anchor(path, method)}"><span>{escape(method)}</span> '
        f"<code>{escape(path)}</code></a></li>"
        for path, method, _ in _operations(document)
    ]
    bodies = [
        f'<li><a href="#{escape(name)}">{escape(name)}</a></li>'
        for name in _separate_bodies(document)
    ]
    return (
        f'<p>Routes</p><ul class="contents">{"".join(routes)}</ul>'
        f'<p>Bodies</p><ul class="contents">{"".join(bodies)}</ul>'
    )


def _anchor(path: str, method: str) -> str:
    return escape(method + path.replace("/", "-").replace("{", "").replace("}", ""))


def _render_operations(document: Json) -> Iterator[str]:
    for path, method, operation in _operations(document):
        content = "".join(_render_operation(path, method, operation, document))
        attributes = _render_data(path, method, operation)
        yield (
            f'<details class="part"><summary><h3><span>{escape(method)}</span> '
            f"<code>{escape(path)}</code></h3> {escape(operation['summary'])}</summary>"
            f'<div id="{_anchor(path, method)}" class="content"{attributes}>'
            f"{content}</div></details>"
        )


def _render_data(path: str, method: str, operation: Json) -> str:
    """Renders attributes from which `docs.js` builds the form to try the route."""
    data = {"method": method.upper(), "path": path}
    if "requestBody" in operation:
        data["body"] = json.dumps(_request_body(operation)["example"], ensure_ascii=False)
    return "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())


def _request_body(operation: Json) -> Json:
    body: Json = operation["requestBody"]["content"]["application/json"]
    return body


def _render_operation(path: str, method: str, operation: Json, document: Json) -> Iterator[str]:
    """Yields an example, the fields of the request, and the answers."""
    has_body = "requestBody" in operation
    example = json.dumps(_request_body(operation)["example"]) if has_body else ""
    data = f" -d '{escape(example)}'" if has_body else ""
    post = " -X POST" if method == "post" and not has_body else ""
    address = f'<span class="address">{ADDRESS}</span>{escape(path)}'
    yield f"<pre>curl -s{post} {address}{data}</pre>"
    if has_body:
        name = schema_name(_request_body(operation)["schema"])
        schema = document["components"]["schemas"][name]
        yield f'<h4 id="{escape(name)}">Request</h4>'
        yield f"{render_description(schema)}{render_fields(schema)}"
    yield "<h4>Answers</h4>"
    yield _render_answers(operation["responses"])
    for content in operation["responses"]["200"]["content"].values():
        for answer in content.get("examples", {}).values():
            value = json.dumps(answer["value"], indent=2, ensure_ascii=False)
            yield f"<p>The answer to {render_code(answer['summary'])}:</p>"
            yield f"<pre>{escape(value)}</pre>"


def _render_answers(responses: Json) -> str:
    """Renders the statuses; statuses with the same body are grouped."""
    groups: dict[str, list[str]] = {}
    for status, answer in responses.items():
        text = f"<b>{escape(status)}</b> {escape(answer['description'])}"
        groups.setdefault(_render_media(answer), []).append(text)
    items = [
        f"<div><dt>{', '.join(group)}</dt><dd>{body}</dd></div>" for body, group in groups.items()
    ]
    return f'<dl class="fields">{"".join(items)}</dl>'


def _render_media(answer: Json) -> str:
    bodies = [
        render_type(content["schema"])
        if "$ref" in content.get("schema", {})
        else f"<code>{escape(media_type)}</code>"
        for media_type, content in answer["content"].items()
    ]
    return " or ".join(bodies)


def _separate_bodies(document: Json) -> Json:
    """Returns the bodies that have a section of their own, outside the routes."""
    requests = {
        schema_name(_request_body(operation)["schema"])
        for _, _, operation in _operations(document)
        if "requestBody" in operation
    }
    schemas: Json = document["components"]["schemas"]
    return {name: schema for name, schema in schemas.items() if name not in requests}


def _render_bodies(document: Json) -> Iterator[str]:
    for name, schema in _separate_bodies(document).items():
        yield (
            f'<details class="part"><summary><h3>{escape(name)}</h3></summary>'
            f'<div id="{escape(name)}" class="content">'
            f"{render_description(schema)}{render_fields(schema)}</div></details>"
        )
