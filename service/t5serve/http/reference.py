"""Renders the OpenAPI document as an HTML page in the style of the web page."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any

Json = dict[str, Any]


def render_reference(document: Json) -> str:
    """Renders the page."""
    info = document["info"]
    sections = [
        _render_operation(path, method, operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = "".join(
        f'<h3 id="{escape(name)}">{escape(name)}</h3>'
        f"{_render_description(schema)}{_render_fields(schema)}"
        for name, schema in document["components"]["schemas"].items()
    )
    contents = _render_contents(document)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/page.css"><script src="static/theme.js"></script></head>
<body><a class="skip" href="#reference">Skip to the reference</a>
<header class="bar">
<a class="brand" href="./"><img src="static/icon.svg" alt="" width="28" height="28">t5serve</a>
<nav aria-label="Service"><a href="./">Try it</a>
<button type="button" id="theme" class="quiet" hidden><span>Auto</span>
<span class="wide">theme</span></button></nav></header>
<main id="reference" class="reference">
<h1>{escape(info["title"])} {escape(info["version"])}</h1>
<p>{escape(info["description"])} The same for programs: <a href="openapi.json">openapi.json</a>.</p>
{contents}{"".join(sections)}<h2 id="bodies">Bodies</h2>{schemas}</main></body></html>
"""


def _render_contents(document: Json) -> str:
    lines = [
        f'<li><a href="#{_anchor(path, method)}"><span>{escape(method)}</span> '
        f"<code>{escape(path)}</code></a> {escape(operation['summary'])}</li>"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return f'<nav aria-label="Routes"><ul class="contents">{"".join(lines)}</ul></nav>'


def _anchor(path: str, method: str) -> str:
    return escape(method + path.replace("/", "-").replace("{", "").replace("}", ""))


def _render_operation(path: str, method: str, operation: Json, document: Json) -> str:
    parts = [
        f'<section id="{_anchor(path, method)}">',
        f"<h2><span>{escape(method)}</span> <code>{escape(path)}</code></h2>",
        f"<p>{escape(operation['summary'])}</p>",
    ]
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]
        example = json.dumps(body["example"])
        curl = f"curl -s http://127.0.0.1:8000{path} -d '{example}'"
        parts.append(f"<pre>{escape(curl)}</pre>")
        schema = document["components"]["schemas"][_schema_name(body["schema"])]
        parts.append(f"{_render_description(schema)}{_render_fields(schema)}")
    statuses = [
        (f"<code>{escape(status)}</code>", escape(answer["description"]), _render_bodies(answer))
        for status, answer in operation["responses"].items()
    ]
    parts.append(_render_table(("status", "meaning", "body"), statuses))
    for content in operation["responses"]["200"]["content"].values():
        parts += [_render_example(example) for example in content.get("examples", {}).values()]
    return f"{''.join(parts)}</section>"


def _render_example(example: Json) -> str:
    value = json.dumps(example["value"], indent=2, ensure_ascii=False)
    return f"<p>The answer to {escape(example['summary'])}:</p><pre>{escape(value)}</pre>"


def _render_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Renders a table; headers and cells are markup."""
    head = "".join(f"<th>{header}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><tr>{head}</tr>{body}</table></div>'


def _render_description(schema: Json) -> str:
    paragraphs = schema.get("description", "").split("\n\n")
    return "".join(f"<p>{_render_code(paragraph)}</p>" for paragraph in paragraphs if paragraph)


def _render_code(description: str) -> str:
    """Escapes a description, and renders the text between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(description))


def _render_bodies(answer: Json) -> str:
    bodies = [
        _render_type(content["schema"])
        if "$ref" in content.get("schema", {})
        else escape(media_type)
        for media_type, content in answer["content"].items()
    ]
    return " or ".join(bodies)


def _render_fields(schema: Json) -> str:
    if "anyOf" in schema:
        return " or ".join(
            _render_fields(member) if "properties" in member else _render_type(member)
            for member in schema["anyOf"]
        )
    rows = []
    for name, field in schema.get("properties", {}).items():
        default = "" if field.get("default") is None else json.dumps(field["default"])
        if name in schema.get("required", ()):
            default = "required"
        meaning = _render_code(field.get("description", ""))
        rows.append((f"<code>{escape(name)}</code>", _render_type(field), escape(default), meaning))
    return _render_table(("field", "type", "default", "meaning"), rows) if rows else ""


def _render_type(field: Json) -> str:
    """Renders a type in words, with its bounds; the type of a body is a link."""
    if "$ref" in field:
        name = escape(_schema_name(field))
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in field:
        members = [member for member in field["anyOf"] if member.get("type") != "null"]
        return " or ".join(map(_render_type, members))
    if "enum" in field or "const" in field:
        values = field.get("enum", [field.get("const")])
        return ", ".join(escape(json.dumps(value)) for value in values)
    name = escape(str(field.get("type", "any")))
    if name == "array":
        return f"list of {_render_type(field.get('items', {}))}"
    bounds = [
        f"{word} {field[key]}"
        for key, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
        )
        if key in field
    ]
    return escape(" ".join([name, *bounds]))


def _schema_name(reference: Json) -> str:
    return str(reference["$ref"].rsplit("/", 1)[-1])
