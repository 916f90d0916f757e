"""GET /healthz and /readyz."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5serve.engine.engine import Engine
from t5serve.errors import NotReady


def health_routes(engine: Engine) -> list[Route]:
    """Routes that tell a supervisor how the service is."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        if engine.state != "ready" or engine.model is None:
            raise NotReady(f"the service is {engine.state}")
        return JSONResponse({"status": "ready", "model": engine.model.name})

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
