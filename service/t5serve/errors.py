"""What can go wrong, and how the service says so.

T5ServeError
├── StartupError               the service can't start; one line for the operator
└── RequestError               answered to a client; the table below has status, type and code
    ├── InvalidRequest
    │   ├── ContextLengthExceeded
    │   └── InputQuarantined
    ├── Unauthorized
    ├── RequestTooLarge
    ├── RouteNotFound
    ├── ModelNotFound
    ├── MethodNotAllowed
    ├── QueueFull
    ├── NotReady
    ├── DeadlineExceeded
    └── ServerFault
        └── NoUsableOutput
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class T5ServeError(Exception):
    """Anything that this service raises on purpose."""


class StartupError(T5ServeError):
    """The service can't start: a model that is missing or wrong, a setting that can't be."""


class RequestError(T5ServeError):
    """A request that gets no answer, or a fallback; `param` names the field at fault."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(RequestError):
    """The body is not what the contract says."""


class ContextLengthExceeded(InvalidRequest):
    """The input has more tokens than the service takes."""


class InputQuarantined(InvalidRequest):
    """This input ended a worker process twice."""


class Unauthorized(RequestError):
    """No key, or a wrong one."""


class RequestTooLarge(RequestError):
    """The body has more bytes than the service takes."""


class RouteNotFound(RequestError):
    """No such path."""


class ModelNotFound(RequestError):
    """The service has another model."""


class MethodNotAllowed(RequestError):
    """The path exists, the method doesn't."""


class QueueFull(RequestError):
    """As many jobs wait as may."""


class NotReady(RequestError):
    """No worker is ready: loading, restarting or draining."""


class DeadlineExceeded(RequestError):
    """The request's time is over."""


class ServerFault(RequestError):
    """Our fault; the message is all that the client learns."""


class NoUsableOutput(ServerFault):
    """The model gave no text."""


class Answer(NamedTuple):
    """How an error class is answered."""

    status: int
    type: str
    code: str | None
    headers: Mapping[str, str] = MappingProxyType({})


RETRY = {"retry-after": "1"}
ANSWERS: dict[type[RequestError], Answer] = {
    InvalidRequest: Answer(400, "invalid_request_error", "invalid_request"),
    ContextLengthExceeded: Answer(400, "invalid_request_error", "context_length_exceeded"),
    InputQuarantined: Answer(
        422, "invalid_request_error", "input_quarantined", {"x-should-retry": "false"}
    ),
    Unauthorized: Answer(
        401, "authentication_error", "invalid_api_key", {"www-authenticate": "Bearer"}
    ),
    RequestTooLarge: Answer(413, "invalid_request_error", "request_too_large"),
    RouteNotFound: Answer(404, "not_found_error", "not_found"),
    ModelNotFound: Answer(404, "not_found_error", "model_not_found"),
    MethodNotAllowed: Answer(405, "not_found_error", "method_not_allowed"),
    QueueFull: Answer(429, "rate_limit_error", "queue_full", RETRY),
    NotReady: Answer(503, "server_error", "not_ready", RETRY),
    # OpenAI's client asks again at any 5xx: after a deadline that only adds to the load.
    DeadlineExceeded: Answer(
        504, "timeout_error", "deadline_exceeded", {"x-should-retry": "false"}
    ),
    ServerFault: Answer(500, "server_error", None),
    NoUsableOutput: Answer(500, "server_error", "no_usable_output"),
}


def error_body(error: RequestError) -> dict[str, dict[str, str | None]]:
    """The contract's one error shape."""
    answer = ANSWERS[type(error)]
    return {
        "error": {
            "message": error.message,
            "type": answer.type,
            "param": error.param,
            "code": answer.code,
        }
    }
