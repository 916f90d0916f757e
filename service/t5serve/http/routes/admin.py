"""POST /admin/reload."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5serve.errors import ReloadFailed, RouteNotFound
from t5serve.http import endpoints
from t5serve.http.access import Access
from t5serve.http.schemas.admin import ReloadResponse
from t5serve.models.reload import Reloader


def admin_routes(reloader: Reloader, access: Access) -> list[Route]:
    """Returns the routes of operators; without keys for them they do not exist."""

    async def reload(request: Request) -> Response:
        if access.admin_keys is None:
            raise RouteNotFound(f"the path {request.url.path} does not exist")
        report = await reloader.reload()
        if report.faults:
            raise ReloadFailed(str(report))
        body = ReloadResponse(
            added=report.added,
            changed=report.changed,
            removed=report.removed,
            unchanged=report.unchanged,
        )
        return JSONResponse(body.model_dump())

    return [endpoints.RELOAD.route(reload)]
