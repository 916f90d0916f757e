"""The API reference as a page, from the OpenAPI document: no script, nothing to fetch."""

from __future__ import annotations

import json
from html import escape
from typing import Any

Json = dict[str, Any]
STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d8dce2, #3a3f47);
  --soft: light-dark(#f5f6f8, #1d2025); --accent: light-dark(#0b57a4, #7db8f5); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
h2 { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1.5rem; }
h2 span { color: var(--accent); text-transform: uppercase; }
code, pre { font: 14px/1.5 ui-monospace, monospace; }
pre { background: var(--soft); overflow-x: auto; padding: 0.8rem; border-radius: 6px; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.6rem; text-align: left;
  vertical-align: top; }
.scroll { overflow-x: auto; margin-top: 1rem; }
a { color: var(--accent); }
"""


def render(document: Json) -> str:
    """The page."""
    info = document["info"]
    sections = [
        _operation(path, method, operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = "".join(
        f'<h3 id="{escape(name)}">{escape(name)}</h3>{_fields(schema)}'
        for name, schema in document["components"]["schemas"].items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>
<body><main><h1>{escape(info["title"])} {escape(info["version"])}</h1>
<p>{escape(info["description"])} The same for programs: <a href="openapi.json">openapi.json</a>.</p>
{"".join(sections)}<h2>Bodies</h2>{schemas}</main></body></html>
"""


def _operation(path: str, method: str, operation: Json, document: Json) -> str:
    parts = [
        f"<section><h2><span>{escape(method)}</span> <code>{escape(path)}</code></h2>",
        f"<p>{escape(operation['summary'])}</p>",
    ]
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]
        example = json.dumps(body["example"])
        curl = f"curl -s http://127.0.0.1:8000{path} -d '{example}'"
        parts.append(f"<pre>{escape(curl)}</pre>")
        schema = document["components"]["schemas"][_target(body["schema"])]
        parts.append(f"<p>{escape(schema.get('description', ''))}</p>{_fields(schema)}")
    rows = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{escape(answer['description'])}</td>"
        f"<td>{_answers(answer)}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    parts.append(f'<div class="scroll"><table><tr><th>status</th><th></th><th>body</th></tr>{rows}')
    parts.append("</table></div></section>")
    return "".join(parts)


def _answers(answer: Json) -> str:
    named = [
        _kind(content["schema"]) if "$ref" in content.get("schema", {}) else escape(media_type)
        for media_type, content in answer["content"].items()
    ]
    return " or ".join(named)


def _fields(schema: Json) -> str:
    if "anyOf" in schema:
        return " or ".join(
            _fields(one) if "properties" in one else _kind(one) for one in schema["anyOf"]
        )
    rows = []
    for name, field in schema.get("properties", {}).items():
        default = "" if field.get("default") is None else json.dumps(field["default"])
        if name in schema.get("required", ()):
            default = "needed"
        rows.append(
            f"<tr><td><code>{escape(name)}</code></td><td>{_kind(field)}</td>"
            f"<td>{escape(default)}</td><td>{escape(field.get('description', ''))}</td></tr>"
        )
    if not rows:
        return f"<p>{escape(schema.get('description', ''))}</p>"
    return (
        '<div class="scroll"><table><tr><th>field</th><th>type</th><th>default</th><th></th></tr>'
        f"{''.join(rows)}</table></div>"
    )


def _kind(field: Json) -> str:
    """A type in words, with its bounds; bodies are links."""
    if "$ref" in field:
        name = escape(_target(field))
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field or "const" in field:
        values = field.get("enum", [field.get("const")])
        return ", ".join(escape(json.dumps(value)) for value in values)
    kind = escape(str(field.get("type", "any")))
    if kind == "array":
        return f"list of {_kind(field.get('items', {}))}"
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
    return escape(" ".join([kind, *bounds]))


def _target(reference: Json) -> str:
    return str(reference["$ref"].rsplit("/", 1)[-1])
