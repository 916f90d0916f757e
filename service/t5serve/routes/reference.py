"""GET /openapi.json and /docs."""

from __future__ import annotations

import functools

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from t5serve.openapi import document
from t5serve.reference import render
from t5serve.routes.page import SAFE


def reference_routes() -> list[Route]:
    """The description of the service, for programs and for people."""

    @functools.cache
    def page() -> str:
        return render(document())

    async def openapi(_request: Request) -> Response:
        return JSONResponse(document())

    async def docs(_request: Request) -> Response:
        return HTMLResponse(page(), headers=SAFE)

    return [
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
    ]
