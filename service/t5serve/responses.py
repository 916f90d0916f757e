"""How errors become responses."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from t5serve.errors import ANSWERS, RequestError, error_body


def error_response(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    """An error's status, headers and body."""
    answer = ANSWERS[type(error)]
    return JSONResponse(
        error_body(error),
        status_code=answer.status,
        headers={**answer.headers, **(headers or {})},
    )
