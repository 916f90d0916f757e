"""The facts of every route, once: path, method, key, logging, description.

Routes, API keys, the request log and the OpenAPI document are all made from these.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, compile_path

from t5serve.http.schemas.chat import ChatRequest, ChatResponse
from t5serve.http.schemas.completions import CompletionRequest, CompletionResponse
from t5serve.http.schemas.models import ModelBody, ModelList
from t5serve.http.schemas.reformulate import ReformulateRequest, ReformulateResponse
from t5serve.http.schemas.state import Alive, ReadyState

Json = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]
GENERATION_ERRORS = (400, 401, 404, 413, 422, 429, 500, 503, 504)
READING_ERRORS = (401, 404, 500, 503)


@dataclass(frozen=True)
class Endpoint:
    """One method of one path.

    Attributes:
        path: as Starlette writes it, with `{name:convertor}` parameters.
        summary: for the API description; "": the endpoint is for browsers, and not described.
        errors: the statuses that the endpoint may answer besides 200.
        response: the body of a 200; None: not JSON.
        request: the body that the endpoint takes; None: none.
        streams: whether the endpoint can answer in server-sent events.
        needs_key: whether a request needs an API key, where keys are set.
        is_quiet: whether a request is logged at debug level only: probes come every few seconds.
    """

    method: str
    path: str
    summary: str = ""
    errors: tuple[int, ...] = ()
    response: type[BaseModel] | None = None
    request: type[BaseModel] | None = None
    example: Json = field(default_factory=dict)
    streams: bool = False
    media_type: str = "application/json"
    needs_key: bool = True
    is_quiet: bool = False

    def route(self, handler: Handler) -> Route:
        """Builds the route that a handler answers."""
        return Route(self.path, handler, methods=[self.method])

    def matches(self, path: str) -> bool:
        """Whether a request's path is one of the endpoint's."""
        return self._pattern.match(path) is not None

    @cached_property
    def _pattern(self) -> Any:  # noqa: ANN401 - a compiled pattern
        pattern, _, _ = compile_path(self.path)
        return pattern


REFORMULATE = Endpoint(
    "POST",
    "/v1/reformulate",
    "Reformulate one query or several.",
    GENERATION_ERRORS,
    ReformulateResponse,
    ReformulateRequest,
    {"query": "which are the best python books for beginners", "n": 3},
    streams=True,
)
COMPLETIONS = Endpoint(
    "POST",
    "/v1/completions",
    "OpenAI's legacy completions: the prompt is the encoder's input.",
    GENERATION_ERRORS,
    CompletionResponse,
    CompletionRequest,
    {"model": "tiny-t5", "prompt": "how do i learn python", "temperature": 0},
    streams=True,
)
CHAT = Endpoint(
    "POST",
    "/v1/chat/completions",
    "OpenAI's chat, for query expanders: reformulations of the user's last message.",
    GENERATION_ERRORS,
    ChatResponse,
    ChatRequest,
    {"model": "tiny-t5", "messages": [{"role": "user", "content": "how do i learn python"}]},
    streams=True,
)
MODELS = Endpoint(
    "GET", "/v1/models", "The models that are served: one.", READING_ERRORS, ModelList
)
MODEL = Endpoint("GET", "/v1/models/{id:path}", "One model.", READING_ERRORS, ModelBody)
HEALTHZ = Endpoint(
    "GET",
    "/healthz",
    "Whether the process lives.",
    (500,),
    Alive,
    needs_key=False,
    is_quiet=True,
)
READYZ = Endpoint(
    "GET",
    "/readyz",
    "Whether a model decodes.",
    (500, 503),
    ReadyState,
    needs_key=False,
    is_quiet=True,
)
METRICS = Endpoint(
    "GET", "/metrics", "Prometheus metrics.", (401, 500), media_type="text/plain", is_quiet=True
)
PAGE = Endpoint("GET", "/", needs_key=False)
ASSET = Endpoint("GET", "/static/{name}", needs_key=False)
DOCS = Endpoint("GET", "/docs", needs_key=False)
OPENAPI = Endpoint("GET", "/openapi.json", needs_key=False)

ENDPOINTS = tuple(value for value in list(globals().values()) if isinstance(value, Endpoint))
OPEN_ENDPOINTS = tuple(endpoint for endpoint in ENDPOINTS if not endpoint.needs_key)
DESCRIBED_ENDPOINTS = tuple(endpoint for endpoint in ENDPOINTS if endpoint.summary)
QUIET_PATHS = frozenset(endpoint.path for endpoint in ENDPOINTS if endpoint.is_quiet)
