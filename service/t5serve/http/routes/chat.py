"""POST /v1/chat/completions."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from t5engine.decoding.parameters import PARAMETERS, SAMPLING
from t5serve.errors import NoUsableOutput
from t5serve.http import endpoints
from t5serve.http.routes.connection import read_body, while_connected
from t5serve.http.routes.leases import use_model
from t5serve.http.routes.sse import DONE, ServerEvent, event_response
from t5serve.http.schemas.body import MAX_N, UsageBody, parse
from t5serve.http.schemas.chat import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatMessageBody,
    ChatRequest,
    ChatResponse,
)
from t5serve.http.schemas.reformulate import MAX_TURNS
from t5serve.models.registry import ModelRegistry
from t5serve.reformulation.candidates import original_candidate
from t5serve.reformulation.content_words import is_keywords
from t5serve.reformulation.instructions import Instruction, read_instruction
from t5serve.reformulation.options import Options, Strategy
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.reformulation.results import QueryResult
from t5serve.settings import Settings

DEFAULT_QUERIES = 3  # reformulations of a choice, if neither the request nor a list's task says


def chat_routes(models: ModelRegistry, settings: Settings) -> list[Route]:
    """Returns the route of OpenAI's chat; its answers are reformulations."""

    async def chat(request: Request) -> Response:
        body = parse(ChatRequest, await read_body(request, settings.timeout_ms / 1000))
        deadline = time.monotonic() + settings.timeout_ms / 1000
        model = await use_model(request, models, body.model, settings.timeout_ms / 1000)
        timeout_ms = max(1, math.ceil(1000 * (deadline - time.monotonic())))
        instruction = read_instruction(body.last_user_message, settings.chat_template)
        options = _options(body, instruction, model.profile, timeout_ms)
        task = model.profile.task(options.task)
        options = replace(options, history=model.admission.fit_history(options.history, task))
        query = model.admission.fit_text(instruction.query, task, "messages")
        work = _reformulate(model.reformulator, query, options)
        result = await while_connected(request, work)
        as_json = instruction.as_json
        if body.response_format is not None:
            as_json = body.response_format.type != "text"
        contents = list(_choice_contents(result, body.n, as_json=as_json))
        head: dict[str, Any] = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model.name,
            "system_fingerprint": await model.fingerprint.text(),
        }
        usage = UsageBody(
            prompt_tokens=result.prompt_tokens,
            completion_tokens=result.completion_tokens,
            total_tokens=result.prompt_tokens + result.completion_tokens,
        )
        if body.stream:
            has_usage = body.stream_options is not None and body.stream_options.include_usage
            return await event_response(_events(head, contents, usage if has_usage else None))
        choices = [
            ChatChoice(index=index, message=ChatMessageBody(content=content))
            for index, content in enumerate(contents)
        ]
        return JSONResponse(ChatResponse(**head, choices=choices, usage=usage).model_dump())

    return [endpoints.CHAT.route(chat)]


def _options(
    body: ChatRequest, instruction: Instruction, profile: Profile, timeout_ms: int
) -> Options:
    """Builds the options of a chat request."""
    schema_count = body.response_format.count if body.response_format is not None else None
    turns = instruction.history or body.earlier_turns
    name = body.task
    if name is None and turns:
        name = profile.conversational_task
    if alias := profile.aliases.get(name or ""):
        name = alias.keywords if is_keywords(instruction.query) else alias.questions
    task = profile.task(name)
    # A follow-up question has one standalone form; a list's task says how many queries there are.
    default = task.n if task.separator or task.takes_history else DEFAULT_QUERIES
    queries = schema_count or instruction.count or default
    parameters = {}
    strategy: Strategy = "auto"
    if profile.generation.strategy == "sample":
        sampling = [name for name, row in PARAMETERS.items() if row.strategies == SAMPLING]
        values = {name: getattr(body, name, None) for name in sampling}
        parameters = {name: value for name, value in values.items() if value}
        if body.seed is not None:
            parameters["seed"] = body.seed % 2**63
        if body.temperature == 0:  # without randomness all samples are equal
            strategy, parameters = "diverse_beam", {}
    max_tokens = body.max_completion_tokens or body.max_tokens or profile.generation.max_tokens
    return Options.for_task(
        task,
        task=name,
        history=tuple(turns[-MAX_TURNS:]) if task.takes_history else (),
        n=min(queries * body.n, MAX_N),
        wants_more=body.n > 1,  # an expander's usual number asks for no second-best list
        strategy=strategy,
        parameters=parameters,
        max_tokens=min(max_tokens, profile.generation.max_tokens),
        strict=True,
        cache=body.cache,
        timeout_ms=timeout_ms,
    )


async def _reformulate(reformulator: Reformulator, query: str, options: Options) -> QueryResult:
    """Reformulates the query; without usable output the result is the query itself."""
    try:
        (result,) = await reformulator.reformulate([query], options, params=["messages"])
    except NoUsableOutput:
        return QueryResult(query, [original_candidate(query)])
    return result


def _choice_contents(result: QueryResult, n: int, *, as_json: bool) -> Iterator[str]:
    """Yields the content of each choice: every n-th reformulation, one per line or as JSON."""
    queries = [candidate.text for candidate in result.reformulations]
    for index in range(n):
        share = queries[index::n] or [queries[index % len(queries)]]
        yield json.dumps({"queries": share}, ensure_ascii=False) if as_json else "\n".join(share)


async def _events(
    head: dict[str, Any], contents: list[str], usage: UsageBody | None
) -> AsyncIterator[ServerEvent]:
    """Yields the events of a stream: the lines of each choice, then the usage if any."""

    def chunk(choices: list[ChatChunkChoice], usage: UsageBody | None = None) -> ServerEvent:
        body = ChatChunk(**head, choices=choices, usage=usage)
        return ServerEvent(None, body.model_dump())

    for index, content in enumerate(contents):
        yield chunk([ChatChunkChoice(index=index, delta={"role": "assistant", "content": ""})])
        for line in content.splitlines(keepends=True):
            yield chunk([ChatChunkChoice(index=index, delta={"content": line})])
        yield chunk([ChatChunkChoice(index=index, delta={}, finish_reason="stop")])
    if usage is not None:
        yield chunk([], usage)
    yield DONE
