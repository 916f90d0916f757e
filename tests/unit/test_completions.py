"""The fields of /v1/completions, and the choices of its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from support.fakes import answer
from t5engine.messages import Generate, Token
from t5serve.errors import InvalidRequest
from t5serve.http.routes.choices import ChoiceBuilder
from t5serve.http.routes.completions import Prompt, _build_choices
from t5serve.http.schemas.body import parse
from t5serve.http.schemas.completions import CompletionRequest

WIDE = 2**64


def read(**body: object) -> CompletionRequest:
    return parse(CompletionRequest, json.dumps({"model": "m", "prompt": "a", **body}).encode())


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([3, 1], [[3, 1]]),
        ([[3, 1], [4]], [[3, 1], [4]]),
    ],
)
def test_prompts(prompt: object, prompts: list[object]) -> None:
    """A prompt has one of four forms: a text, texts, a list of token ids, or several such lists."""
    assert read(prompt=prompt).prompts == prompts


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"model": None}, "model", "required"),
        ({"prompt": None}, "prompt", "required"),
        ({"prompt": []}, "prompt", "must be a string"),
        ({"prompt": [[]]}, "prompt", "must be a string"),
        ({"prompt": ["a", 1]}, "prompt", "must be a string"),
        ({"prompt": [True]}, "prompt", "must be a string"),
        ({"prompt": [-1]}, "prompt", "must be a string"),
        ({"prompt": [1.0]}, "prompt", "must be a string"),
        ({"prompt": [WIDE]}, "prompt", "must be a string"),
        ({"prompt": [[WIDE]]}, "prompt", "must be a string"),
        ({"max_tokens": 0}, "max_tokens", "greater"),
        ({"max_tokens": True}, "max_tokens", "integer"),
        ({"temperature": 2.1}, "temperature", "less"),
        ({"temperature": "0"}, "temperature", "number"),
        ({"top_p": 1.1}, "top_p", "less"),
        ({"n": 17}, "n", "less"),
        ({"n": 2, "best_of": 1}, "best_of", "best_of must be at least n"),
        ({"best_of": 21}, "best_of", "less"),
        ({"best_of": 2, "stream": True}, "best_of", "can't be streamed"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "needs stream"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage", "unknown"),
        ({"logprobs": 6}, "logprobs", "less"),
        ({"logprobs": True}, "logprobs", "integer"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "up to four"),
        ({"stop": ""}, "stop", "none empty"),
        ({"seed": 1.5}, "seed", "integer"),
        ({"presence_penalty": 3}, "presence_penalty", "less"),
        ({"frequency_penalty": -3}, "frequency_penalty", "greater"),
        ({"logit_bias": {"5": 101}}, "logit_bias", "token ids"),
        ({"logit_bias": {"-5": 1}}, "logit_bias", "token ids"),
        ({"logit_bias": {str(WIDE): 1}}, "logit_bias", "token ids"),
        ({"logit_bias": {"five": 1}}, "logit_bias", "token ids"),
        ({"logit_bias": {"5": True}}, "logit_bias", "token ids"),
        ({"top_k": -1}, "top_k", "greater"),
        ({"top_k": WIDE}, "top_k", "less"),
        ({"repetition_penalty": 0}, "repetition_penalty", "greater"),
        ({"num_beams": 21}, "num_beams", "less"),
        ({"num_beams": 2, "n": 3}, "num_beams", "num_beams must be at least n"),
        ({"suffix": "b"}, "suffix", "unknown field"),
        ({"echo": 1}, "echo", "boolean"),
    ],
)
def test_refusals_name_the_field(body: dict[str, object], param: str | None, message: str) -> None:
    """Each error names the path of its field, and no number is too large for the worker."""
    with pytest.raises(InvalidRequest, match=message) as raised:
        read(**body)
    assert raised.value.param == param


@pytest.mark.parametrize("raw", ["NaN", "Infinity", "1e999", "-1e999", "9" * 4000])
@pytest.mark.parametrize("name", ["temperature", "top_p", "presence_penalty", "top_k", "n"])
def test_numbers_that_are_none(name: str, raw: str) -> None:
    """NaN, infinities and numbers of 4,000 digits are refused."""
    with pytest.raises(InvalidRequest):
        parse(CompletionRequest, f'{{"model": "m", "prompt": "a", "{name}": {raw}}}'.encode())


def test_null_is_absent() -> None:
    """Clients send null for fields that they do not set."""
    names = set(CompletionRequest.model_fields) - {"model", "prompt"}
    assert read(**dict.fromkeys(names)) == read()


def test_defaults_are_openai_s() -> None:
    """OpenAI's defaults apply, not the model's: sampling at temperature 1, 16 tokens."""
    config = read().config(128)
    assert (config.max_tokens, config.do_sample, config.temperature) == (16, True, 1.0)
    assert (config.top_k, config.top_p, config.seed, config.top_logprobs) == (0, 1.0, None, None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"max_tokens": 1000}, {"max_tokens": 128}),
        ({"n": 2, "best_of": 5}, {"num_return_sequences": 5}),
        ({"seed": -1}, {"seed": 2**63 - 1}),
        ({"seed": 2**80 + 7}, {"seed": 7}),
        ({"logit_bias": {"5": -100}}, {"logit_bias": {5: -100.0}}),
        ({"logprobs": 0}, {"top_logprobs": 0}),
        ({"num_beams": 4, "temperature": 0}, {"num_beams": 4, "do_sample": False}),
        ({"presence_penalty": 1, "frequency_penalty": -1}, {"presence_penalty": 1.0}),
    ],
)
def test_config(body: dict[str, object], expected: dict[str, Any]) -> None:
    """Fields become decoding parameters; more tokens than the model's limit are lowered."""
    config = read(**body).config(128)
    assert {name: getattr(config, name) for name in expected} == expected


def test_top_p_of_nothing_is_the_most_probable() -> None:
    """OpenAI accepts 0; transformers does not."""
    assert 0 < read(top_p=0).config(128).top_p < 1e-6


@pytest.mark.parametrize("sampling", [{"temperature": 0.5}, {"top_p": 0.5}, {"top_k": 5}])
def test_beams_are_not_sampled(sampling: dict[str, object]) -> None:
    """Beam search and sampling exclude each other."""
    with pytest.raises(InvalidRequest, match="beam search does not sample"):
        read(num_beams=2, **sampling).config(128)


def test_best_of_gives_the_best() -> None:
    """The n best are returned in order; indices continue over the prompts."""
    generated = answer(Generate(1, read().config(9), text="a"), "worse", "bad", "worst")
    generated.outputs[1] = replace(generated.outputs[1], score=-0.1)
    body = read(n=2, best_of=3)
    choices = list(_build_choices(3, Prompt("a", None, []), generated, body))
    assert [(choice.index, choice.text) for choice in choices] == [(6, "bad"), (7, "worse")]


def test_logprobs_go_on_where_the_text_does() -> None:
    """Offsets count characters over the echo and all parts, also of tokens that arrive late."""
    builder = ChoiceBuilder(0, 1)
    echo = builder.echo_prompt(["h\u00e4", " b"]).logprobs
    assert echo is not None
    assert (echo.text_offset, echo.token_logprobs) == ([0, 2], [None, None])
    assert echo.top_logprobs == [None, None]
    tokens = [
        Token(7, "\U0001f642", -0.5, [(7, "\U0001f642", -0.5), (8, "x", -1.0)]),
        Token(9, "y", -3.0, [(8, "x", -1.0), (4, "x", -2.0)]),
    ]
    more = builder.add_text("\U0001f642y", tokens).logprobs
    assert more is not None
    assert more.text_offset == [4, 5]
    assert more.top_logprobs == [{"\U0001f642": -0.5, "x": -1.0}, {"x": -1.0, "y": -3.0}]
    assert builder.add_text("z", []).text == "z"
    later = builder.add_text("", [Token(1, "z", -1.0, []), Token(1, "", -1.0, [])]).logprobs
    assert later is not None
    assert later.text_offset == [6, 7]
    assert ChoiceBuilder(0, None).add_text("a", None).logprobs is None
