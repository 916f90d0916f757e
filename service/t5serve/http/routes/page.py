"""GET / and /static/{name}: the web page."""

from __future__ import annotations

import re
from importlib import resources

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from t5serve.http import endpoints
from t5serve.http.asset import Asset

MEDIA_TYPES = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}

COMMENT = re.compile(rb"^\t*(?://[^\n]*|/\*.*?\*/)\n", re.DOTALL | re.MULTILINE)
INDENTATION = re.compile(rb"^\t+", re.MULTILINE)


def page_routes() -> list[Route]:
    """Returns the routes of the page and its files."""
    assets = read_assets()

    async def page(request: Request) -> Response:
        return assets["index.html"].respond(request)

    async def asset(request: Request) -> Response:
        file = assets.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404)
        return file.respond(request)

    return [
        endpoints.PAGE.route(page),
        endpoints.ASSET.route(asset),
    ]


def read_assets() -> dict[str, Asset]:
    """Reads the files of the page, by name."""
    folder = resources.files("t5serve") / "page"
    return {
        file.name: Asset.from_content(
            shorten(file.read_bytes()), MEDIA_TYPES[file.name.rpartition(".")[2]]
        )
        for file in folder.iterdir()
    }


def shorten(content: bytes) -> bytes:
    """Leaves out comments that have lines of their own, and the tabs that indent lines."""
    return INDENTATION.sub(b"", COMMENT.sub(b"", content))
