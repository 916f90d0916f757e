"""Builds responses to errors."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from t5serve.errors import ERROR_RESPONSES, RequestError, error_body, error_headers


def error_response(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    """Builds the response to an error: status, headers and body."""
    response = ERROR_RESPONSES[type(error)]
    return JSONResponse(
        error_body(error),
        status_code=response.status,
        headers={**error_headers(error), **(headers or {})},
    )
