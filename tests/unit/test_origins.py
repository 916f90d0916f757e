"""Origins as people write them, in the form in which browsers send them."""

from __future__ import annotations

import pytest

from t5serve.origins import parse_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://example.com", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("HTTPS://Example.COM", "https://example.com"),
        ("http://example.com:80", "http://example.com"),
        ("https://example.com:443/", "https://example.com"),
        ("http://localhost:3000/", "http://localhost:3000"),
        ("http://[0:0::1]:3000", "http://[::1]:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("chrome-extension://AbC", "chrome-extension://AbC"),
        ("*", "*"),
        ("null", "null"),
    ],
)
def test_origins_are_normalised(text: str, origin: str) -> None:
    """The form is that of a serialised origin in the WHATWG's URL standard, 4.7."""
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("example.com", "localhost:3000", "https://", "https:example.com", "https://a/path"),
        *("https://a?b", "https://a#b", "https://user@a", "https://*.a", "https://a b"),
        *("https://a:99999", "file:///x"),
    ],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    """No browser would send it, so it would never match."""
    with pytest.raises(ValueError, match="is no origin; write one like https"):
        parse_origin(text)
