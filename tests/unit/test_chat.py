"""The fields of /v1/chat/completions, and the content of its answers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from support.fakes import MODEL
from t5gguf.recipe import Generation
from t5serve.errors import InvalidRequest
from t5serve.http.routes.chat import _choice_contents, _options
from t5serve.http.schemas.body import parse
from t5serve.http.schemas.chat import ChatRequest
from t5serve.reformulation.candidates import Reformulation
from t5serve.reformulation.instructions import Instruction
from t5serve.reformulation.options import Options
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.results import QueryResult

USER = {"role": "user", "content": "a"}
SCHEMA = "response_format.json_schema"
NEUTRAL = {
    "frequency_penalty": 0,
    "function_call": "none",
    "functions": [],
    "logit_bias": {},
    "logprobs": False,
    "metadata": {"a": "b"},
    "modalities": ["text"],
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "prompt_cache_key": "a",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "minimal",
    "response_format": {"type": "text"},
    "safety_identifier": "a",
    "service_tier": "auto",
    "stop": [],
    "store": False,
    "stream": False,
    "temperature": 1,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1,
    "user": "a",
    "verbosity": "low",
}
"""Values of OpenAI's fields that ask for nothing that is not done."""
WITHOUT_NEUTRAL = {"audio", "moderation", "prediction", "web_search_options"}
PROFILE = Profile.of(MODEL, None)


def read(*messages: dict[str, Any], **body: object) -> ChatRequest:
    fields = {"model": "m", "messages": messages or [USER], **body}
    return parse(ChatRequest, json.dumps(fields).encode())


def queries_schema(schema: object) -> dict[str, Any]:
    """Returns a response_format with a schema for `queries`."""
    schema_object = {"type": "object", "properties": {"queries": schema}}
    return {
        "type": "json_schema",
        "json_schema": {"name": "q", "strict": True, "schema": schema_object},
    }


def test_the_last_of_the_user_s_messages_is_the_question() -> None:
    """The last user message is the query, whatever messages surround it."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first", "name": "me"},
        {"role": "assistant", "content": None, "refusal": None},
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]},
        {"role": "assistant", "content": "go on"},
    ]
    assert read(*messages).last_user_message == "x\ny"


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"model": None}, "model", "required"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "system", "content": "a"}]}, "messages", "role"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages", "blank"),
        ({"messages": [{"role": "user"}]}, "messages", "blank"),
        ({"messages": [USER, {"role": "user", "content": ""}]}, "messages", "blank"),
        ({"messages": [{"role": "boss", "content": "a"}]}, "messages[0].role", "should be"),
        ({"n": 17}, "n", "less"),
        ({"tools": [{"type": "function"}]}, "tools", "tools can't be called here; use response_f"),
        ({"tool_choice": "required"}, "tool_choice", "tools can't be called here"),
        ({"functions": [{"name": "f"}]}, "functions", "tools can't be called here"),
        ({"function_call": {"name": "f"}}, "function_call", "tools can't be called here"),
        ({"modalities": ["text", "audio"]}, "modalities[1]", "text"),
        ({"top_logprobs": 1}, "top_logprobs", "less"),
        ({"stop": "x"}, "stop", "use /v1/completions"),
        ({"presence_penalty": 1}, "presence_penalty", "use /v1/completions"),
        ({"logprobs": True}, "logprobs", "False"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "needs stream"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "should be"),
        ({"response_format": {"type": "json_schema"}}, SCHEMA, "queries"),
        ({"response_format": queries_schema({"type": "string"})}, SCHEMA, "queries"),
        ({"response_format": queries_schema(None)}, SCHEMA, "queries"),
        ({"temperature": 3}, "temperature", "less"),
        ({"max_tokens": 0}, "max_tokens", "greater"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "a string"),
        ({"stop": 5}, "stop", "a string"),
    ],
)
def test_refusals_name_the_field(body: dict[str, object], param: str | None, message: str) -> None:
    """Each error names the path of its field."""
    with pytest.raises(InvalidRequest, match=message) as raised:
        read(**body)
    assert raised.value.param == param


def test_images_are_refused() -> None:
    """An image is refused instead of ignored."""
    with pytest.raises(
        InvalidRequest, match=r"\[0\].content: must be a string, or a list of parts"
    ):
        read({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]})


def test_null_is_absent() -> None:
    """Clients send null for fields that they do not set."""
    names = set(ChatRequest.model_fields) - {"model", "messages"}
    assert read(**dict.fromkeys(names)) == read()


@pytest.mark.parametrize(
    ("schema", "count"),
    [
        ({"type": "array"}, None),
        ({"type": "array", "maxItems": 5}, 5),
        ({"type": "array", "minItems": 2, "maxItems": 5}, 5),
        ({"type": "array", "minItems": 2}, 2),
        ({"type": "array", "minItems": 0, "maxItems": "many"}, None),
    ],
)
def test_a_schema_says_how_many(schema: dict[str, Any], count: int | None) -> None:
    """The bounds of the array set the number of queries."""
    body = read(response_format=queries_schema(schema))
    assert body.response_format is not None
    assert body.response_format.count == count


def options(
    instruction: Instruction | None = None, profile: Profile = PROFILE, **body: object
) -> Options:
    return _options(read(**body), instruction or Instruction("a"), profile, 1000)


def test_how_many_are_decoded() -> None:
    """A choice has three queries unless the instruction or schema sets a number, 16 at most."""
    assert options().n == 3
    assert options(n=2).n == 6
    assert options(Instruction("a", 4), n=2).n == 8
    schema = queries_schema({"type": "array", "maxItems": 5})
    assert options(Instruction("a", 4), response_format=schema).n == 5
    assert options(Instruction("a", 999)).n == 16
    assert options(n=16).n == 16


def test_max_tokens() -> None:
    """The model's limit applies; max_completion_tokens takes precedence."""
    limit = PROFILE.generation.max_tokens
    assert options().max_tokens == limit
    assert options(max_tokens=5).max_tokens == 5
    assert options(max_tokens=5, max_completion_tokens=7).max_tokens == 7
    assert options(max_tokens=10**6).max_tokens == limit


def test_sampling_parameters_count_where_the_recipe_samples() -> None:
    """Chat clients always send a temperature, which has no effect on beam search."""
    sampling_fields: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "seed": 0}
    assert options(**sampling_fields).parameters == {}
    sampling = Profile(PROFILE.tasks, Generation(strategy="sample"))
    assert options(profile=sampling, **sampling_fields).parameters == sampling_fields
    # The worker accepts neither of these values unchanged.
    assert options(profile=sampling, top_p=0, seed=-1).parameters == {"seed": 2**63 - 1}
    # Samples without randomness would all be equal.
    certain = options(profile=sampling, temperature=0, seed=1)
    assert (certain.strategy, certain.parameters) == ("diverse_beam", {})


def contents(texts: list[str], n: int, *, as_json: bool = False) -> list[str]:
    candidates = [Reformulation(text, -1.0, -1.0, i, 1, "model") for i, text in enumerate(texts, 1)]
    return list(_choice_contents(QueryResult("q", candidates), n, as_json=as_json))


def test_contents() -> None:
    """Each choice gets its share, one per line or as JSON, and is never empty."""
    assert contents(["a", "b", "c"], 1) == ["a\nb\nc"]
    assert contents(["a", "b", "c"], 2) == ["a\nc", "b"]
    assert contents(["a", "b"], 3) == ["a", "b", "a"]
    (only,) = contents(["\u00e4", '"b"'], 1, as_json=True)
    assert json.loads(only) == {"queries": ["\u00e4", '"b"']}


def test_the_model_s_own_defaults_are_kept() -> None:
    """Without a recipe the defaults of the file apply."""
    metadata = {"t5serve.generation.max_tokens": "9"}
    profile = Profile.of(msgspec.structs.replace(MODEL, metadata=metadata), None)
    assert options(profile=profile).max_tokens == 9


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_neutral_fields_are_taken(name: str) -> None:
    """A field of OpenAI's that asks for nothing special is accepted."""
    assert read(**{name: NEUTRAL[name]}).model == "m"


def test_every_field_of_openai_is_known() -> None:
    """The fields of the client's library are fields here, unless each of their values matters."""
    names = set(CompletionCreateParamsNonStreaming.__annotations__)
    assert names - WITHOUT_NEUTRAL == names & set(ChatRequest.model_fields)


def test_a_stream_needs_no_padding() -> None:
    """`include_obfuscation` is accepted: it asks for padding against eavesdroppers, or for none."""
    body = read(stream=True, stream_options={"include_obfuscation": False, "include_usage": True})
    assert body.stream_options is not None
    assert body.stream_options.include_usage


def test_a_text_part_may_be_marked_for_a_cache() -> None:
    """Marks for the caches of other providers are ignored."""
    part = {
        "type": "text",
        "text": "a",
        "cache_control": {"type": "ephemeral"},
        "prompt_cache_breakpoint": {"mode": "explicit"},
    }
    assert read({"role": "user", "content": [part]}).last_user_message == "a"
