"""Renders the fields of a schema: names, types and bounds in words, defaults, descriptions."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

Json = dict[str, Any]
FARTHEST = 1e9  # larger bounds come from the number's type, and are left out
NEAREST = 1e-6  # a lower bound below this only excludes 0


def render_description(schema: Json) -> str:
    """Renders the description of a schema as paragraphs."""
    paragraphs = schema.get("description", "").split("\n\n")
    return "".join(f"<p>{render_code(paragraph)}</p>" for paragraph in paragraphs if paragraph)


def render_code(text: str) -> str:
    """Escapes a text, and renders what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def render_fields(schema: Json) -> str:
    """Renders the fields of a schema as a list of definitions."""
    if "anyOf" in schema:
        return " or ".join(
            render_fields(member) if "properties" in member else render_type(member)
            for member in schema["anyOf"]
        )
    fields = [
        _render_field(name, field, is_required=name in schema.get("required", ()))
        for name, field in schema.get("properties", {}).items()
    ]
    return f'<dl class="fields">{"".join(fields)}</dl>' if fields else ""


def _render_field(name: str, field: Json, *, is_required: bool) -> str:
    notes = [render_type(field)]
    if is_required:
        notes.append("<em>required</em>")
    elif field.get("default") is not None:
        notes.append(f"default <code>{escape(json.dumps(field['default']))}</code>")
    title = f"<code>{escape(name)}</code> <span>{' · '.join(notes)}</span>"
    return f"<div><dt>{title}</dt><dd>{render_code(field.get('description', ''))}</dd></div>"


def render_type(field: Json) -> str:
    """Renders a type in words, with its bounds; the type of a body is a link."""
    if "$ref" in field:
        name = escape(schema_name(field))
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in field:
        members = [member for member in field["anyOf"] if member.get("type") != "null"]
        return " or ".join(dict.fromkeys(map(render_type, members)))
    if "enum" in field or "const" in field:
        values = field.get("enum", [field.get("const")])
        return " ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
    name = escape(str(field.get("type", "any")))
    if name == "array":
        name = f"list of {render_type(field.get('items', {}))}"
    return " ".join(filter(None, [name, escape(describe_bounds(field))]))


def describe_bounds(field: Json) -> str:
    """Says the bounds of a number, a list or a text in words: "from 1 to 16"."""
    if "maxItems" in field:
        return f"(at most {field['maxItems']:,})"
    if "maxLength" in field:
        return f"of at most {field['maxLength']:,} characters"
    lowest, above = field.get("minimum"), field.get("exclusiveMinimum")
    highest, below = field.get("maximum"), field.get("exclusiveMaximum")
    if below is not None and field.get("type") == "integer":
        highest, below = below - 1, None
    if lowest is not None and 0 < lowest < NEAREST:
        lowest, above = None, 0
    lowest, above, highest, below = (
        None if bound is not None and abs(bound) > FARTHEST else bound
        for bound in (lowest, above, highest, below)
    )
    if lowest is not None and highest is not None:
        return f"from {lowest:,.10g} to {highest:,.10g}"
    words = (("at least", lowest), ("above", above), ("at most", highest), ("below", below))
    return ", ".join(f"{word} {bound:,.10g}" for word, bound in words if bound is not None)


def schema_name(reference: Json) -> str:
    """Returns the name of the schema that a reference names."""
    return str(reference["$ref"].rsplit("/", 1)[-1])
