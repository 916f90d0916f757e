"""The `openai` SDK's completions; its other parts are in test_clients.py and test_overload.py."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from openai import OpenAI
from openai.types import Completion
from openai.types.completion_choice import CompletionChoice, Logprobs
from sentencepiece import sentencepiece_model_pb2

from support import tiny
from support.decoding import convert
from support.parity import golden, with_model
from support.samples import read_proto
from support.serving import Server, start, stop
from t5engine.decoding.logprobs import log_softmax
from t5engine.decoding.parameters import GenerationConfig
from t5engine.pool.engine import Engine

PROMPTS = [
    "which are the best python books for beginners",
    "best running shoes for flat feet 2024",
    "what is the best way to get to the airport from the station in the city",
]
CASE = golden("embedded")["cases"][3]  # by transformers, from the F32 checkpoint
SAMPLED: dict[str, Any] = {"temperature": 1.5, "seed": 1, "max_tokens": 24}
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 64}
QUOTE = 3399  # the embedded vocabulary's piece for a typographic apostrophe
E_ACUTE = {str(3 + byte): 100 for byte in "\u00e9".encode()}  # of the model that speaks bytes


@pytest.fixture(scope="module")
def service() -> Iterator[Server]:
    running = start(timeout_ms="60000")
    running.wait_until_ready()
    yield running
    stop(running)


@pytest.fixture(scope="module")
def client(service: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as one:
        yield one


@pytest.fixture(scope="module")
def byte_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """Of a random model whose vocabulary is bytes from id 3 on, and pieces from 259 on."""
    checkpoint = tiny.build("restless", tmp_path_factory.mktemp("bytes"))
    kind = sentencepiece_model_pb2.ModelProto.SentencePiece
    proto = read_proto(checkpoint / "spiece.model")
    pieces = list(proto.pieces)
    del proto.pieces[:]
    proto.pieces.extend(pieces[:3])
    proto.pieces.extend(kind(piece=f"<0x{byte:02X}>", type=kind.BYTE) for byte in range(256))
    proto.pieces.extend(pieces[3:63])
    proto.trainer_spec.byte_fallback = True
    (checkpoint / "spiece.model").write_bytes(proto.SerializeToString())
    running = start(model=str(convert(checkpoint, checkpoint / "bytes.gguf")), timeout_ms="60000")
    running.wait_until_ready()
    with OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as one:
        yield one
    stop(running)


def complete(client: OpenAI, prompt: Any = PROMPTS[0], **options: Any) -> Completion:
    name = client.models.list().data[0].id
    answer = client.completions.create(model=name, prompt=prompt, **options)
    assert isinstance(answer, Completion)
    return answer


def texts(answer: Completion) -> list[str]:
    assert [choice.index for choice in answer.choices] == list(range(len(answer.choices)))
    return [choice.text for choice in answer.choices]


def gathered(chunks: Iterable[Completion]) -> list[dict[str, Any]]:
    """What a stream's parts add up to, choice by choice."""
    choices: dict[int, dict[str, Any]] = {}
    for part in (part for chunk in chunks for part in chunk.choices):
        one = choices.setdefault(part.index, {"text": "", "logprobs": {}, "finish": None})
        assert one["finish"] is None
        one["text"] += part.text
        one["finish"] = part.finish_reason
        for name, values in dict(part.logprobs or {}).items():
            one["logprobs"][name] = one["logprobs"].get(name, []) + (values or [])
    return [choices[index] for index in sorted(choices)]


def test_models_list_what_a_request_may_send(service: Server, client: OpenAI) -> None:
    """Tasks, aliases and bounds of `n` stand beside OpenAI's fields, and requests accept them."""
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("tiny-t5", "model", "t5serve")
    facts = model.model_extra or {}
    assert facts["aliases"] == {"expand": {"questions": "search", "keywords": "question"}}
    assert facts["n"] == {"search": 5, "fix": 1, "paraphrase": 1, "question": 1}
    assert list(facts["n"]) == list(facts["tasks"])
    with service.client() as http:

        def status(**body: object) -> int:
            return http.post("/v1/reformulate", json={"query": PROMPTS[0], **body}).status_code

        assert {status(task=name) for name in [*facts["tasks"], *facts["aliases"]]} == {200}
        assert status(n=facts["max_n"]) == 200
        assert status(n=facts["max_n"] + 1) == 400
        assert status(task="expansion") == 400


def logprobs_of(choice: CompletionChoice) -> Logprobs:
    assert choice.logprobs is not None
    return choice.logprobs


def test_shape(client: OpenAI) -> None:
    """What the SDK's types want is there, and figures that belong together."""
    answer = complete(client, n=2, **SAMPLED)
    assert (answer.object, answer.model) == ("text_completion", "tiny-t5")
    assert re.fullmatch(r"fp_[0-9a-f]{12}_\d+\.\d+\.\d+", answer.system_fingerprint or "")
    assert {choice.finish_reason for choice in answer.choices} <= {"stop", "length"}
    usage = answer.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 20
    assert complete(client, max_tokens=2, temperature=0).choices[0].finish_reason == "length"
    assert complete(client, **GREEDY).choices[0].finish_reason == "stop"


def test_prompts_and_the_order_of_choices(client: OpenAI) -> None:
    """Texts and token ids, one or several; each prompt's n stand together, as if asked alone."""
    assert texts(complete(client, CASE["prompt_ids"], **GREEDY)) == [CASE["text"]]
    assert texts(complete(client, [CASE["prompt_ids"]] * 2, **GREEDY)) == [CASE["text"]] * 2
    alone = [text for prompt in PROMPTS for text in texts(complete(client, prompt, n=3, **SAMPLED))]
    assert texts(complete(client, PROMPTS, n=3, **SAMPLED)) == alone
    assert len(set(alone)) > 3


@pytest.mark.parametrize(
    ("base", "given"),
    [
        (GREEDY, {"max_tokens": 3}),
        (GREEDY, {"echo": True}),
        (GREEDY, {"stop": "o"}),
        (GREEDY, {"logit_bias": {"1": -100}}),
        (GREEDY, {"extra_body": {"repetition_penalty": 5}}),
        ({**GREEDY, "n": 3}, {"extra_body": {"num_beams": 4}}),
        ({**SAMPLED, "temperature": 2}, {"presence_penalty": 2}),
        ({**SAMPLED, "temperature": 2}, {"frequency_penalty": 2}),
        (SAMPLED, {"temperature": 0.5}),
        (SAMPLED, {"top_p": 0.5}),
        (SAMPLED, {"seed": 2}),
        (SAMPLED, {"best_of": 12}),
        (SAMPLED, {"n": 2}),
        ({**SAMPLED, "temperature": 2}, {"extra_body": {"top_k": 2}}),
    ],
)
def test_every_parameter_has_an_effect(
    client: OpenAI, base: dict[str, Any], given: dict[str, Any]
) -> None:
    """None is accepted and ignored."""
    answers = [texts(complete(client, PROMPTS, **{**base, **more})) for more in ({}, given)]
    assert answers[0] != answers[1]


def test_parameters_that_change_nothing(client: OpenAI) -> None:
    """`user` and nulls; the same seed gives the same, no seed always something else."""
    nulls = dict.fromkeys(("best_of", "logprobs", "stop", "seed", "suffix", "user", "logit_bias"))
    assert texts(complete(client, **nulls, **GREEDY)) == texts(complete(client, **GREEDY))
    first = texts(complete(client, PROMPTS, user="somebody", **SAMPLED))
    assert first == texts(complete(client, PROMPTS, **SAMPLED))
    wild = [texts(complete(client, PROMPTS, temperature=2)) for _ in range(2)]
    assert wild[0] != wild[1]


def test_best_of(client: OpenAI) -> None:
    """The most probable per token of as many, for each prompt."""
    drawn = texts(complete(client, PROMPTS[:2], n=6, **SAMPLED))
    first, second = texts(complete(client, PROMPTS[:2], best_of=6, **SAMPLED))
    assert first in drawn[:6]
    assert second in drawn[6:]
    with pytest.raises(openai.BadRequestError, match="best_of"):
        complete(client, best_of=2, stream=True)


@pytest.mark.parametrize("size", [1, 4, 9])
def test_stop_strings(client: OpenAI, size: int) -> None:
    """Wherever they begin and end, the text has what is before the first; one or several."""
    (text,) = texts(complete(client, **GREEDY))
    for place in range(1, len(text) - size, 3):
        word = text[place : place + size]
        for given in (word, ["never said", word]):
            choice = complete(client, stop=given, **GREEDY).choices[0]
            assert (choice.text, choice.finish_reason) == (text[: text.index(word)], "stop")


STREAMS: list[dict[str, Any]] = [
    {"prompt": PROMPTS[0], **GREEDY},
    {"prompt": PROMPTS, "n": 3, "logprobs": 2, **SAMPLED},
    {"prompt": PROMPTS[0], "stop": ["learn", " qu"], "logprobs": 0, **GREEDY},
    {"prompt": CASE["prompt_ids"], "echo": True, "logprobs": 1, **GREEDY},
    {"prompt": PROMPTS[:2], "n": 2, "extra_body": {"num_beams": 4}, **GREEDY},
    {"prompt": "a", "logit_bias": {str(QUOTE): 20}, "n": 2, **SAMPLED},
    {"prompt": "", **GREEDY},
]
BYTES: list[dict[str, Any]] = [
    {"prompt": "\u00e9t\u00e9", "temperature": 2, "seed": 3, "n": 4, "logprobs": 1},
    {"prompt": "a", "temperature": 2, "seed": 3, "n": 4, "logprobs": 1, "logit_bias": E_ACUTE},
    {"prompt": "\u4f60\u597d", "temperature": 2, "seed": 1, "echo": True, "logprobs": 5},
    {"prompt": "a", "temperature": 2, "seed": 3, "n": 4, "logit_bias": E_ACUTE, "stop": "\u00e9"},
]


def check_stream(client: OpenAI, options: dict[str, Any]) -> Completion:
    """A stream adds up to the answer; the answer."""
    answer = complete(client, **options)
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.completions.create(**{"model": answer.model, **options, **streamed}))
    assert (chunks[-1].choices, chunks[-1].usage) == ([], answer.usage)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    for one, choice in zip(gathered(chunks), answer.choices, strict=True):
        assert (one["text"], one["finish"]) == (choice.text, choice.finish_reason)
        whole = dict(choice.logprobs or {})
        assert one["logprobs"].keys() == whole.keys()
        for kind in ("tokens", "text_offset"):
            assert one["logprobs"].get(kind) == whole.get(kind)
        values = [one["logprobs"].get("token_logprobs", []), whole.get("token_logprobs", [])]
        assert np.array(values[0], float) == pytest.approx(
            np.array(values[1], float), abs=0.05, nan_ok=True
        )
    return answer


def check_logprobs(answer: Completion, wanted: int) -> None:
    """Tokens make up the text, offsets say where, and the chosen one is among the top."""
    for choice in answer.choices:
        found = logprobs_of(choice)
        tokens, offsets = found.tokens or [], found.text_offset or []
        assert "".join(tokens) == choice.text
        assert offsets == [len("".join(tokens[:place])) for place in range(len(tokens))]
        rows = zip(tokens, found.token_logprobs or [], found.top_logprobs or [], strict=True)
        for token, value, top in rows:
            if value is not None:
                assert top[token] == value <= 0
                assert 1 <= len(top) <= wanted + 1


@pytest.mark.parametrize("options", STREAMS)
def test_a_stream_adds_up(client: OpenAI, options: dict[str, Any]) -> None:
    """Texts, ends and log-probabilities, also of several choices that come mixed."""
    answer = check_stream(client, options)
    if "logprobs" in options:
        check_logprobs(answer, options["logprobs"])
    if "logit_bias" in options:
        assert "\u2019" in answer.choices[0].text


@pytest.mark.parametrize("options", BYTES)
def test_characters_of_several_tokens(byte_client: OpenAI, options: dict[str, Any]) -> None:
    """Streamed, echoed and stopped at whole characters."""
    answer = check_stream(byte_client, {**options, "max_tokens": 40})
    if "logprobs" in options:
        check_logprobs(answer, options["logprobs"])
    if "logit_bias" in options:
        assert ("\u00e9" in "".join(texts(answer))) == ("stop" not in options)
    if "echo" in options:
        assert answer.choices[0].text.startswith("\u4f60\u597d")


def test_echo(client: OpenAI) -> None:
    """The prompt comes first, with tokens and offsets but without log-probabilities."""
    plain, echoed = (
        complete(client, CASE["prompt_ids"], echo=echo, logprobs=2, **GREEDY).choices[0]
        for echo in (False, True)
    )
    assert echoed.text == CASE["query"] + plain.text
    values, own = (logprobs_of(one).token_logprobs or [] for one in (echoed, plain))
    assert values[-len(own) :] == pytest.approx(own, abs=0.05)
    assert set(values[: len(CASE["prompt_ids"]) - 1]) == {None}


def test_logprobs_are_the_model_s(client: OpenAI, embedded: Path) -> None:
    """As the engine scores the same tokens, and near transformers' on the F32 checkpoint."""
    asked = complete(client, CASE["prompt_ids"], logprobs=5, **GREEDY).choices[0]
    found = logprobs_of(asked)

    async def score(engine: Engine) -> Any:
        config = GenerationConfig(max_tokens=64)
        best = (await engine.generate(config, ids=CASE["prompt_ids"], timeout=60)).generated.best
        logits = await engine.score(CASE["prompt_ids"], [0, *best.tokens[:-1]])
        return best.tokens, np.stack([log_softmax(row) for row in logits])

    tokens, expected = with_model(embedded, score)
    assert found.token_logprobs == pytest.approx(
        [float(row[token]) for row, token in zip(expected, tokens, strict=True)], abs=0.05
    )
    for top, row in zip(found.top_logprobs or [], expected, strict=True):
        assert sorted(top.values()) == pytest.approx(sorted(row)[-5:], abs=0.05)
    assert sum(found.token_logprobs or []) == pytest.approx(CASE["logprob"], abs=0.3)


def test_tokens_can_be_banned(client: OpenAI) -> None:
    """By a bias of -100."""
    banned = {str(token): -100 for token in CASE["ids"][:4]}
    before, after = (
        logprobs_of(complete(client, CASE["prompt_ids"], logprobs=0, **more, **GREEDY).choices[0])
        for more in ({}, {"logit_bias": banned})
    )
    assert set((before.tokens or [])[:4]).isdisjoint(after.tokens or [])
