"""The table of endpoints: path, method, key, logging, description.

Routes, API keys, the request log and the OpenAPI document are built from this table.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, compile_path

from t5serve.http.examples import LIST_ANSWER, LIST_REQUEST, RERANK_EXAMPLE
from t5serve.http.schemas.admin import ReloadResponse
from t5serve.http.schemas.chat import ChatRequest, ChatResponse
from t5serve.http.schemas.completions import CompletionRequest, CompletionResponse
from t5serve.http.schemas.models import ModelBody, ModelList
from t5serve.http.schemas.reformulate import ReformulateRequest
from t5serve.http.schemas.reformulations import ReformulateResponse
from t5serve.http.schemas.rerank import RerankRequest, RerankResponse
from t5serve.http.schemas.state import Alive, ReadyState

Json = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]
GENERATION_ERRORS = (400, 401, 404, 408, 413, 415, 421, 422, 429, 431, 500, 501, 503, 504)
MAX_COMPARED = 100  # characters of a path that is compared with others
READING_ERRORS = (401, 404, 421, 429, 500, 503)


@dataclass(frozen=True)
class Endpoint:
    """An HTTP method on a path.

    Attributes:
        path: the path in Starlette's syntax, with `{name:convertor}` parameters.
        summary: the summary in the API description; "": the endpoint is for browsers and is not
            described.
        errors: the statuses of the endpoint's error responses.
        response: the body of a response with status 200; None: the body is not JSON.
        request: the body of a request; None: the request has no body.
        example: an example of a request body.
        answers: examples of answers, by what each shows.
        streams: whether the endpoint can answer with server-sent events.
        needs_key: whether a request requires an API key, if the service has keys.
        needs_admin_key: whether a request requires a key of T5SERVE_ADMIN_KEYS_FILE.
        is_quiet: whether requests are logged at debug level only, because probes repeat every
            few seconds.
    """

    method: str
    path: str
    summary: str = ""
    errors: tuple[int, ...] = ()
    response: type[BaseModel] | None = None
    request: type[BaseModel] | None = None
    example: Json = field(default_factory=dict)
    answers: Json = field(default_factory=dict)
    streams: bool = False
    media_type: str = "application/json"
    needs_key: bool = True
    needs_admin_key: bool = False
    is_quiet: bool = False

    def route(self, handler: Handler) -> Route:
        """Builds the route of the endpoint."""
        return Route(self.path, handler, methods=[self.method])

    def matches(self, path: str) -> bool:
        """Whether the endpoint has this path."""
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
    {"query": "how do i clean a laptop screen", "n": 3},
    {f"{json.dumps(LIST_REQUEST)} to a task whose answer is a list of queries": LIST_ANSWER},
    streams=True,
)
COMPLETIONS = Endpoint(
    "POST",
    "/v1/completions",
    "Complete prompts, like OpenAI's legacy completions; a prompt is the encoder's input.",
    GENERATION_ERRORS,
    CompletionResponse,
    CompletionRequest,
    {"model": "tiny-t5", "prompt": "how do i clean a laptop screen", "temperature": 0},
    streams=True,
)
CHAT = Endpoint(
    "POST",
    "/v1/chat/completions",
    "Reformulate the user's last message, like OpenAI's chat; for query expanders.",
    GENERATION_ERRORS,
    ChatResponse,
    ChatRequest,
    {
        "model": "tiny-t5",
        "messages": [{"role": "user", "content": "how do i clean a laptop screen"}],
    },
    streams=True,
)
RERANK = Endpoint(
    "POST",
    "/v1/rerank",
    "Order documents by their relevance for a query, like Cohere's and Jina's rerank.",
    GENERATION_ERRORS,
    RerankResponse,
    RerankRequest,
    RERANK_EXAMPLE,
)
RERANK_V2 = replace(
    RERANK, path="/v2/rerank", summary="The same as /v1/rerank, where Cohere's client looks for it."
)
MODELS = Endpoint(
    "GET", "/v1/models", "List the models that are served.", READING_ERRORS, ModelList
)
MODEL = Endpoint("GET", "/v1/models/{id:path}", "Describe one model.", READING_ERRORS, ModelBody)
HEALTHZ = Endpoint(
    "GET",
    "/healthz",
    "Check that the process is alive.",
    (500,),
    Alive,
    needs_key=False,
    is_quiet=True,
)
READYZ = Endpoint(
    "GET",
    "/readyz",
    "Check that a model is ready, and see the state of each.",
    (500, 503),
    ReadyState,
    needs_key=False,
    is_quiet=True,
)
METRICS = Endpoint(
    "GET",
    "/metrics",
    "Get the metrics in the format of Prometheus.",
    (401, 421, 429, 500),
    media_type="text/plain",
    is_quiet=True,
)
RELOAD = Endpoint(
    "POST",
    "/admin/reload",
    "Read the keys, the models and the lexicons again, like SIGHUP. The key is one of "
    "T5SERVE_ADMIN_KEYS_FILE; without that file the path does not exist.",
    (401, 404, 421, 422, 429, 500, 503),
    ReloadResponse,
    needs_admin_key=True,
)
PAGE = Endpoint("GET", "/", needs_key=False)
ASSET = Endpoint("GET", "/static/{name}", needs_key=False)
DOCS = Endpoint("GET", "/docs", needs_key=False)
OPENAPI = Endpoint("GET", "/openapi.json", needs_key=False)

ENDPOINTS = tuple(value for value in list(globals().values()) if isinstance(value, Endpoint))
OPEN_ENDPOINTS = tuple(endpoint for endpoint in ENDPOINTS if not endpoint.needs_key)
ADMIN_ENDPOINTS = tuple(endpoint for endpoint in ENDPOINTS if endpoint.needs_admin_key)
PROBES = (HEALTHZ, READYZ)
DESCRIBED_ENDPOINTS = tuple(endpoint for endpoint in ENDPOINTS if endpoint.summary)
QUIET_PATHS = frozenset(endpoint.path for endpoint in ENDPOINTS if endpoint.is_quiet)


def suggest_path(path: str) -> str:
    """Suggests a path for an unknown one, or lists the paths.

    The suggestion differs only in slashes, case or the number of `/v1`, or has a similar spelling.
    """
    paths = [endpoint.path.partition("/{")[0] for endpoint in DESCRIBED_ENDPOINTS]
    plain = "/" + "/".join(part for part in path.lower().split("/") if part)
    plain = re.sub(r"^(/v1)+(?=/|$)", "/v1", plain)
    for candidate in (plain, f"/v1{plain}"):
        if candidate in paths:
            return f"did you mean {candidate}?"
    if nearest := difflib.get_close_matches(plain[:MAX_COMPARED], paths, n=1, cutoff=0.8):
        return f"did you mean {nearest[0]}?"
    return f"there are: {', '.join(dict.fromkeys(paths))}, and /docs"
