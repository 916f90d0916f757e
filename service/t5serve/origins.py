"""Web origins as browsers send them."""

from __future__ import annotations

from pydantic_core import Url, ValidationError

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}  # WHATWG URL, 4.2
ANY, OPAQUE = "*", "null"


def parse_origin(text: str) -> str:
    """Returns an origin in the form of the header `Origin` (WHATWG URL, 4.7).

    Case, a slash at the end and the scheme's own port make no difference; a host is in ASCII.

    Args:
        text: an origin, `*` for any, or `null` for that of files.

    Raises:
        ValueError: the text is no origin.
    """
    if text in (ANY, OPAQUE):
        return text
    fault = f"{text!r} is no origin; write one like https://example.com, without a path"
    try:
        url = Url(text)  # the standard's parser
    except ValidationError:
        raise ValueError(fault) from None
    extras = (url.username, url.password, url.query, url.fragment, (url.path or "/").strip("/"))
    if "://" not in text or not url.host or "*" in url.host or any(extras):
        raise ValueError(fault)
    port = "" if url.port in (None, DEFAULT_PORTS.get(url.scheme)) else f":{url.port}"
    return f"{url.scheme}://{url.host}{port}"
