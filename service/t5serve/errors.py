"""The errors of the service, and the responses to them.

T5ServeError
├── StartupError               the service can't start; one line for the operator
├── UsageError                 the command line is wrong
└── RequestError               answered to a client; the table below has status, type and code
    ├── InvalidRequest
    │   ├── ContextLengthExceeded
    │   └── InputQuarantined
    ├── Unauthorized
    ├── RequestTooLarge
    │   └── HeadTooLarge
    ├── UnsupportedEncoding
    ├── UnknownTransferCoding
    ├── RequestTimeout
    ├── TooManyConnections
    ├── HostNotAllowed
    ├── RateLimited
    ├── RouteNotFound
    ├── ModelNotFound
    ├── MethodNotAllowed
    ├── ReloadFailed
    ├── QueueFull
    ├── NotReady
    ├── DeadlineExceeded
    └── ServerFault
        └── NoUsableOutput

The engine raises errors of its own (`t5engine.errors`); `request_error` translates them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from t5engine import errors as engine

MAX_EXCERPT = 200


def excerpt(text: str) -> str:
    """Returns a text of a client for a message, at most 200 characters of it."""
    return text if len(text) <= MAX_EXCERPT else f"{text[: MAX_EXCERPT - 1]}…"


class T5ServeError(Exception):
    """The base class of the errors that the service raises."""


class StartupError(T5ServeError):
    """The service can't start: a model is missing or wrong, or a setting is invalid."""


class UsageError(T5ServeError):
    """An option of the command line is wrong, or options exclude each other."""


class RequestError(T5ServeError):
    """A request that can't be answered.

    Args:
        message: what went wrong, in one sentence.
        param: the request field at fault.
        retry_after: seconds after which another attempt can succeed; 0: unknown.
    """

    def __init__(self, message: str, *, param: str | None = None, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class InvalidRequest(RequestError):
    """The body violates the contract."""


class ContextLengthExceeded(InvalidRequest):
    """The input has more tokens than the service allows."""


class InputQuarantined(InvalidRequest):
    """The input ended a worker process twice."""


class Unauthorized(RequestError):
    """The key is missing or wrong."""


class RequestTooLarge(RequestError):
    """The body has more bytes than the service allows."""


class HeadTooLarge(RequestTooLarge):
    """The head has more bytes than the service allows."""


class UnsupportedEncoding(RequestError):
    """The body has a Content-Encoding."""


class UnknownTransferCoding(RequestError):
    """The body has a Transfer-Encoding other than chunked."""


class RequestTimeout(RequestError):
    """The client sends its request too slowly."""


class TooManyConnections(RequestError):
    """The service has as many connections as it can hold."""


class HostNotAllowed(RequestError):
    """The Host of the request is not a name of this service."""


class RateLimited(RequestError):
    """A client sends more requests than it may."""


class RouteNotFound(RequestError):
    """The path does not exist."""


class ModelNotFound(RequestError):
    """The service has no model of this name."""


class MethodNotAllowed(RequestError):
    """The path does not support the method."""


class ReloadFailed(RequestError):
    """Keys, models or lexicons can't be reloaded; what served before serves on."""


class QueueFull(RequestError):
    """The queue is full."""


class NotReady(RequestError):
    """No worker is ready: loading, restarting or draining."""


class DeadlineExceeded(RequestError):
    """The deadline of the request has passed."""


class ServerFault(RequestError):
    """A fault of the service; the client receives the message only."""


class NoUsableOutput(ServerFault):
    """The model produced no usable text."""


class ErrorResponse(NamedTuple):
    """The response to an error class."""

    status: int
    type: str
    code: str | None
    headers: Mapping[str, str] = MappingProxyType({})


RETRY = {"retry-after": "1"}
ERROR_RESPONSES: dict[type[RequestError], ErrorResponse] = {
    InvalidRequest: ErrorResponse(400, "invalid_request_error", "invalid_request"),
    ContextLengthExceeded: ErrorResponse(400, "invalid_request_error", "context_length_exceeded"),
    InputQuarantined: ErrorResponse(
        422, "invalid_request_error", "input_quarantined", {"x-should-retry": "false"}
    ),
    Unauthorized: ErrorResponse(
        401, "authentication_error", "invalid_api_key", {"www-authenticate": "Bearer"}
    ),
    RequestTooLarge: ErrorResponse(413, "invalid_request_error", "request_too_large"),
    HeadTooLarge: ErrorResponse(431, "invalid_request_error", "request_too_large"),
    # RFC 9110, 12.5.3: the answer says which encodings are taken.
    UnsupportedEncoding: ErrorResponse(
        415, "invalid_request_error", "unsupported_encoding", {"accept-encoding": "identity"}
    ),
    # RFC 9112, 6.1.
    UnknownTransferCoding: ErrorResponse(501, "invalid_request_error", "unsupported_encoding"),
    RequestTimeout: ErrorResponse(408, "invalid_request_error", "request_timeout"),
    TooManyConnections: ErrorResponse(503, "server_error", "not_ready", RETRY),
    HostNotAllowed: ErrorResponse(421, "invalid_request_error", "host_not_allowed"),
    RateLimited: ErrorResponse(429, "rate_limit_error", "rate_limited", RETRY),
    RouteNotFound: ErrorResponse(404, "not_found_error", "not_found"),
    ModelNotFound: ErrorResponse(404, "not_found_error", "model_not_found"),
    MethodNotAllowed: ErrorResponse(405, "invalid_request_error", "method_not_allowed"),
    ReloadFailed: ErrorResponse(
        422, "invalid_request_error", "reload_failed", {"x-should-retry": "false"}
    ),
    QueueFull: ErrorResponse(429, "rate_limit_error", "queue_full", RETRY),
    NotReady: ErrorResponse(503, "server_error", "not_ready", RETRY),
    # OpenAI's client retries after any 5xx; after a deadline a retry only adds to the load.
    DeadlineExceeded: ErrorResponse(
        504, "timeout_error", "deadline_exceeded", {"x-should-retry": "false"}
    ),
    ServerFault: ErrorResponse(500, "server_error", None),
    NoUsableOutput: ErrorResponse(500, "server_error", "no_usable_output"),
}

REQUEST_ERRORS: dict[type[engine.JobError], type[RequestError]] = {
    engine.InvalidInput: InvalidRequest,
    engine.InputTooLong: ContextLengthExceeded,
    engine.InputQuarantined: InputQuarantined,
    engine.QueueFull: QueueFull,
    engine.EngineNotReady: NotReady,
    engine.DeadlineExceeded: DeadlineExceeded,
    engine.JobFailed: ServerFault,
}


def request_error(error: engine.JobError, *, param: str | None = None) -> RequestError:
    """Translates an error of the engine.

    Args:
        error: the error that the engine raised.
        param: the request field that holds the input; used only if the input is refused.
    """
    is_refusal = isinstance(error, engine.InvalidInput)
    return REQUEST_ERRORS[type(error)](
        str(error), param=param if is_refusal else None, retry_after=error.retry_after
    )


def error_headers(error: RequestError) -> dict[str, str]:
    """Builds the headers of an error response; a retry is advised after one second at least."""
    headers = dict(ERROR_RESPONSES[type(error)].headers)
    if "retry-after" in headers and error.retry_after > 1:
        headers["retry-after"] = f"{math.ceil(error.retry_after)}"
    return headers


def error_body(error: RequestError) -> dict[str, dict[str, str | None]]:
    """Builds the body of an error response."""
    response = ERROR_RESPONSES[type(error)]
    return {
        "error": {
            "message": error.message,
            "type": response.type,
            "param": error.param,
            "code": response.code,
        }
    }
