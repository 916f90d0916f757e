"""Cross-origin requests of web pages."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from t5serve.errors import InvalidRequest
from t5serve.http.responses import error_response


class CrossOrigin(CORSMiddleware):
    """Starlette's CORS middleware, with errors in the service's JSON format."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answers a preflight request, which a browser sends before the actual request."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        message = bytes(response.body).decode()
        headers = {
            name: value
            for name, value in response.headers.items()
            if name not in ("content-type", "content-length")
        }
        return error_response(InvalidRequest(message), headers)
