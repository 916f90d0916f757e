"""Static files for browsers: sent compressed, and only if the browser's copy is outdated."""

from __future__ import annotations

import gzip
import hashlib
from types import MappingProxyType
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",  # the browser refuses to parse text as markup
    "trusted-types": "'none'",
}
HEADERS = MappingProxyType(
    {
        # Browsers revalidate each time, so that an upgrade takes effect at once.
        "cache-control": "no-cache",
        "content-security-policy": "; ".join(map(" ".join, POLICY.items())),
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "vary": "accept-encoding",
    }
)


class Asset(NamedTuple):
    """The content of a static file.

    Attributes:
        compressed: the content, compressed with gzip.
        etag: the entity tag of the content.
    """

    content: bytes
    compressed: bytes
    media_type: str
    etag: str

    @classmethod
    def from_content(cls, content: bytes, media_type: str) -> Asset:
        """Compresses the content and computes its entity tag."""
        tag = hashlib.sha256(content).hexdigest()[:32]
        return cls(content, gzip.compress(content, mtime=0), media_type, f'W/"{tag}"')

    def respond(self, request: Request) -> Response:
        """Builds the response: the content, or 304 if the client has the same content."""
        headers = {**HEADERS, "etag": self.etag}
        if self.etag in _header_values(request, "if-none-match"):
            return Response(status_code=304, headers=headers)
        content = self.content
        if "gzip" in _header_values(request, "accept-encoding"):
            content = self.compressed
            headers["content-encoding"] = "gzip"
        return Response(content, media_type=self.media_type, headers=headers)


def _header_values(request: Request, header: str) -> list[str]:
    return [value.strip() for value in request.headers.get(header, "").split(",")]
