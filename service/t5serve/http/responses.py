"""Builds responses to errors."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping

from starlette.responses import JSONResponse, Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from t5serve.errors import ERROR_RESPONSES, RequestError, error_body, error_headers


def error_response(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    """Builds the response to an error: status, headers and body."""
    response = ERROR_RESPONSES[type(error)]
    return JSONResponse(
        error_body(error),
        status_code=response.status,
        headers={**error_headers(error), **(headers or {})},
    )


def error_bytes(error: RequestError, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Builds the response to a request that never reaches the application.

    Args:
        error: what is answered.
        default_headers: headers that every response has.
    """
    response = ERROR_RESPONSES[type(error)]
    body = json.dumps(error_body(error)).encode()
    headers = {
        **error_headers(error),
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        "x-request-id": uuid.uuid4().hex,
        "x-processing-ms": "0.0",
    }
    defaults = b"".join(b"%s: %s\r\n" % header for header in default_headers)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[response.status] + defaults + lines.encode() + b"\r\n" + body
