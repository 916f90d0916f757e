"""GET /healthz, /readyz and /metrics."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5serve.errors import request_error
from t5serve.http import endpoints
from t5serve.metrics import Metrics
from t5serve.models.registry import ModelRegistry


def health_routes(models: ModelRegistry, metrics: Metrics) -> list[Route]:
    """Returns the routes that supervisors and Prometheus call."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        model = models.default
        if model.engine.state != "ready":
            raise request_error(model.engine.not_ready())
        return JSONResponse({"status": "ready", "model": model.name})

    async def scrape(_request: Request) -> Response:
        return Response(metrics.render(), media_type=metrics.content_type)

    return [
        endpoints.HEALTHZ.route(healthz),
        endpoints.READYZ.route(readyz),
        endpoints.METRICS.route(scrape),
    ]
