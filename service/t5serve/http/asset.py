"""What a browser shows: fixed bytes, sent packed, and only when they have changed."""

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
    "require-trusted-types-for": "'script'",  # no text becomes markup, not even by mistake
    "trusted-types": "'none'",
}
HEADERS = MappingProxyType(
    {
        # Asked for again each time, so that an upgrade shows at once.
        "cache-control": "no-cache",
        "content-security-policy": "; ".join(map(" ".join, POLICY.items())),
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "vary": "accept-encoding",
        "x-content-type-options": "nosniff",
    }
)


class Asset(NamedTuple):
    """Some bytes with their type, ready to be sent."""

    content: bytes
    packed: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, content: bytes, media_type: str) -> Asset:
        """Packs the bytes, and gives them a tag."""
        tag = hashlib.sha256(content).hexdigest()[:32]
        return cls(content, gzip.compress(content, mtime=0), media_type, f'W/"{tag}"')

    def answer(self, request: Request) -> Response:
        """As much as the client does not have."""
        headers = {**HEADERS, "etag": self.etag}
        if self.etag in _listed(request, "if-none-match"):
            return Response(status_code=304, headers=headers)
        content = self.content
        if "gzip" in _listed(request, "accept-encoding"):
            content = self.packed
            headers["content-encoding"] = "gzip"
        return Response(content, media_type=self.media_type, headers=headers)


def _listed(request: Request, header: str) -> list[str]:
    return [one.strip() for one in request.headers.get(header, "").split(",")]
