"""GET /healthz, /readyz and /metrics."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5serve.errors import NotReady
from t5serve.http import endpoints
from t5serve.http.schemas.state import ModelState, ReadyState
from t5serve.metrics import Metrics
from t5serve.models.registry import ModelRegistry


def refusal_to_be_ready(models: ModelRegistry) -> NotReady | None:
    """Returns why the service is not ready; None: it is.

    The service is ready once the models of the start are loaded, and as long as one model answers.
    A failed model does not make the service unready for the others.
    """
    if models.is_draining:
        return NotReady("the service is draining")
    slots = list(models)
    is_starting = any(slot.model is not None and slot.state == "loading" for slot in slots)
    if not is_starting and any(slot.is_answering for slot in slots):
        return None
    if len(slots) == 1:
        error = slots[0].not_ready()
        return NotReady(f"the service is {slots[0].state}", retry_after=error.retry_after)
    state = "loading" if is_starting else "restarting"
    states = ", ".join(f"{slot.label} is {slot.state}" for slot in slots)
    retry_after = min(slot.not_ready().retry_after for slot in slots)
    return NotReady(f"the service is {state}: {states}", retry_after=retry_after)


def health_routes(models: ModelRegistry, metrics: Metrics) -> list[Route]:
    """Returns the routes that supervisors and Prometheus call."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        if (error := refusal_to_be_ready(models)) is not None:
            raise error
        states = {slot.name: ModelState(state=slot.state, reason=slot.failure) for slot in models}
        body = ReadyState(model=models.default.name, models=states)
        return JSONResponse(body.model_dump())

    async def scrape(_request: Request) -> Response:
        return Response(metrics.render(), media_type=metrics.content_type)

    return [
        endpoints.HEALTHZ.route(healthz),
        endpoints.READYZ.route(readyz),
        endpoints.METRICS.route(scrape),
    ]
