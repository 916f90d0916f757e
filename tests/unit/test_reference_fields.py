"""Types and bounds in words, as the API reference shows them."""

from __future__ import annotations

from typing import Any

import pytest

from t5serve.http.reference_fields import render_code, render_fields, render_type


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 16}, "integer from 1 to 16"),
        ({"type": "integer", "minimum": 1, "exclusiveMaximum": 129}, "integer from 1 to 128"),
        ({"type": "integer", "minimum": 0, "exclusiveMaximum": 2**63}, "integer at least 0"),
        ({"type": "integer", "maximum": 10_000_000}, "integer at most 10,000,000"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "number above 0, at most 1"),
        ({"type": "number", "minimum": -3.4e38, "maximum": 3.4e38}, "number"),
        ({"type": "number", "minimum": 1e-38, "exclusiveMaximum": 2}, "number above 0, below 2"),
        ({"type": "number", "minimum": 0.01, "maximum": 100.0}, "number from 0.01 to 100"),
        ({"type": "string", "maxLength": 2000}, "string of at most 2,000 characters"),
        (
            {"type": "array", "items": {"type": "string"}, "maxItems": 64},
            "list of string (at most 64)",
        ),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "boolean"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "integer or string"),
        ({"const": "list"}, "<code>&quot;list&quot;</code>"),
        ({}, "any"),
    ],
)
def test_types_are_said_in_words(field: dict[str, Any], text: str) -> None:
    """Bounds that nobody reaches are left out, and numbers have separators."""
    assert render_type(field) == text


def test_fields_have_type_default_and_meaning() -> None:
    """A required field says so instead of a default; a body is a link."""
    schema = {
        "required": ["query"],
        "properties": {
            "query": {"type": "string", "description": "The `query`, <b>."},
            "n": {"type": "integer", "default": 3, "description": "How many."},
            "usage": {"$ref": "#/components/schemas/UsageBody"},
        },
    }
    text = render_fields(schema)
    assert "<code>query</code> <span>string · <em>required</em></span>" in text
    assert "<dd>The <code>query</code>, &lt;b&gt;.</dd>" in text
    assert "integer · default <code>3</code>" in text
    assert '<a href="#UsageBody">UsageBody</a>' in text
    assert render_fields({"type": "object"}) == ""


def test_code_is_escaped() -> None:
    """Text between backticks is code, and never markup."""
    assert render_code("a `<b>` & c") == "a <code>&lt;b&gt;</code> &amp; c"
