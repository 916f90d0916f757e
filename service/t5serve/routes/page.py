"""GET / and /static/{name}: the web page."""

from __future__ import annotations

import hashlib
from importlib import resources
from types import MappingProxyType
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

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
SAFE = MappingProxyType(
    {
        "content-security-policy": "; ".join(map(" ".join, POLICY.items())),
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
)
"""Headers of everything that a browser shows."""
MEDIA_TYPES = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}


class Asset(NamedTuple):
    """A file of the page, as it is sent."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, name: str, content: bytes) -> Asset:
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return cls(content, MEDIA_TYPES[name.rpartition(".")[2]], etag)

    def answer(self, request: Request) -> Response:
        # Asked for again each time, and sent only when it has changed: an upgrade shows at once.
        headers = {**SAFE, "cache-control": "no-cache", "etag": self.etag}
        known = request.headers.get("if-none-match", "").replace("W/", "").split(",")
        if self.etag in (one.strip() for one in known):
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def page_routes() -> list[Route]:
    """The page, and what it is made of."""
    assets = read_assets()

    async def page(request: Request) -> Response:
        return assets["index.html"].answer(request)

    async def asset(request: Request) -> Response:
        found = assets.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return found.answer(request)

    return [
        Route("/", page, methods=["GET"]),
        Route("/static/{name}", asset, methods=["GET"]),
    ]


def read_assets() -> dict[str, Asset]:
    """Every file of the page, by its name."""
    folder = resources.files("t5serve") / "page"
    return {one.name: Asset.read(one.name, one.read_bytes()) for one in folder.iterdir()}
