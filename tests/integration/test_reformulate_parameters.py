"""The parameters of POST /v1/reformulate over a real socket."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from typing import Any

import pytest

from support.reformulate_client import QUERIES, answers, post
from support.serving import Server

PLAIN: dict[str, Any] = {"strategy": "greedy"}
BEAMS: dict[str, Any] = {"strategy": "beam", "n": 3}
GROUPS: dict[str, Any] = {"strategy": "diverse_beam", "n": 3}
SAMPLES: dict[str, Any] = {"strategy": "sample", "n": 2, "temperature": 2.0, "seed": 1}


@cache
def base_answers(url: str, body: str) -> list[list[str]]:
    """Returns the same, cached."""
    return answers(url, **json.loads(body))


Event = tuple[str, Any]


@pytest.mark.parametrize(
    ("body", "minimum", "maximum"),
    [
        ({}, 1, 1),
        ({"strategy": "greedy"}, 1, 1),
        ({"strategy": "beam"}, 1, 1),
        ({"strategy": "diverse_beam"}, 1, 1),
        ({"strategy": "sample", "seed": 1}, 1, 1),
        ({"n": 4}, 2, 4),
        ({"strategy": "beam", "n": 4}, 2, 4),
        ({"strategy": "diverse_beam", "n": 4}, 2, 4),
        ({"strategy": "sample", "n": 4, "seed": 1, "temperature": 1.5}, 2, 4),
        # At most 20 beams are possible, and most differ in capitals only.
        ({"strategy": "beam", "n": 16, "max_tokens": 8}, 4, 16),
    ],
)
def test_every_strategy(server: Server, body: dict[str, Any], minimum: int, maximum: int) -> None:
    """There are at most n distinct reformulations, with scores and ranks."""
    response = post(server, query=QUERIES[0], strict=True, **body)
    assert response.status_code == 200
    (result,) = response.json()["results"]
    queries = result["queries"]
    assert minimum <= len(queries) <= maximum
    assert len({unicodedata.normalize("NFKC", query).casefold() for query in queries}) == len(
        queries
    )
    assert [reformulation["text"] for reformulation in result["reformulations"]] == queries
    assert [reformulation["rank"] for reformulation in result["reformulations"]] == list(
        range(1, len(queries) + 1)
    )
    assert all(reformulation["score"] < 0 for reformulation in result["reformulations"])
    assert maximum == 1 or QUERIES[0] not in queries
    # Those that were not chosen have cost something as well.
    usage = response.json()["usage"]
    assert usage["completion_tokens"] >= sum(
        reformulation["tokens"] for reformulation in result["reformulations"]
    )


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("task", ["question", "paraphrase"])
def test_punctuation_is_no_reformulation(server: Server, task: str, n: int) -> None:
    """No answer differs from its query, or from another answer, in sentence punctuation only."""
    queries = ["what is x", "how do i clean a laptop screen", "why is the sky blue"]
    response = post(server, queries=queries, task=task, n=n)
    for result in response.json()["results"]:
        texts = [re.sub(r"[.,?!]+(?= |$)", "", text.casefold()) for text in result["queries"]]
        assert len(set(texts)) == len(texts)
        assert result["changed"] != (result["original"] in texts)


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (PLAIN, {"max_tokens": 3}),
        (PLAIN, {"repetition_penalty": 5.0}),
        (PLAIN, {"no_repeat_ngram_size": 1}),
        (BEAMS, {"n": 2}),
        (BEAMS, {"num_beams": 3}),
        (BEAMS, {"length_penalty": 5.0}),
        (GROUPS, {"num_beam_groups": 2}),
        (GROUPS, {"diversity_penalty": 5.0}),
        (GROUPS, {"num_beams": 9, "num_beam_groups": 3}),
        (SAMPLES, {"seed": 2}),
        (SAMPLES, {"temperature": 0.5}),
        (SAMPLES, {"top_k": 2}),
        (SAMPLES, {"top_p": 0.5}),
        (SAMPLES, {"min_p": 0.5}),
        (SAMPLES, {"typical_p": 0.2}),
        (BEAMS, {"strategy": "diverse_beam"}),
        (BEAMS, {"include_original": True}),
        (SAMPLES, {"preserve": ["numbers", "capitalised"]}),
        (BEAMS, {"min_difference": 0.3}),
    ],
)
def test_every_parameter_has_an_effect(
    server: Server, base: dict[str, Any], change: dict[str, Any]
) -> None:
    """No parameter is ignored."""
    assert base_answers(server.url, json.dumps(base)) != answers(server, **{**base, **change})


def test_auto(server: Server) -> None:
    """Auto is greedy for n = 1, diverse beams for more, and sampling with a temperature."""
    assert answers(server) == answers(server, strategy="greedy")
    assert answers(server, n=3) == answers(server, strategy="diverse_beam", n=3)
    sampled = answers(server, **{**SAMPLES, "strategy": "auto"})
    assert sampled == answers(server, **SAMPLES)


def test_seed(server: Server) -> None:
    """A seed gives the same samples in any batch; without a seed samples differ."""
    body = {**SAMPLES, "strict": True}
    first, *_ = answers(server, **body)
    again, *_ = answers(server, **body)
    (alone,) = post(server, query=QUERIES[0], **body).json()["results"]
    assert first == again == alone["queries"]
    wild = {"strategy": "sample", "temperature": 3.0}
    assert answers(server, **wild) != answers(server, **wild)


def test_temperature_zero_is_greedy(server: Server) -> None:
    """Sampling at temperature 0 is greedy decoding."""
    sampled = answers(server, strategy="sample", temperature=0)
    assert sampled == answers(server, strategy="greedy")


def test_include_original(server: Server) -> None:
    """The original comes first, in addition to the n."""
    response = post(server, queries=QUERIES, include_original=True, strict=True, **BEAMS)
    for query, result in zip(QUERIES, response.json()["results"], strict=True):
        first, *generated = result["reformulations"]
        assert first == {
            "text": query,
            "score": None,
            "model_score": None,
            "rank": 1,
            "tokens": 0,
            "source": "original",
        }
        assert 1 <= len(generated) <= 3
        assert {reformulation["source"] for reformulation in generated} == {"model"}
        assert query not in [reformulation["text"] for reformulation in generated]
        assert (result["fallback"], result["queries"][0]) == (False, query)


def test_preserve(server: Server) -> None:
    """Samples at a high temperature lose a number without the constraint, and none with it."""
    request: dict[str, Any] = {
        "queries": ["how far is 12 miles in kilometers 1987"],
        "task": "paraphrase",
        "strategy": "sample",
        "temperature": 2,
        "top_k": 0,
        "seed": 1,
        "n": 8,
    }
    (plain,) = answers(server, preserve=[], **request)
    (kept,) = answers(server, preserve=["numbers", "quoted", "capitalised"], **request)
    assert any({"12", "1987"} - {*re.findall(r"\w+", text)} for text in plain)
    assert kept
    assert all({"12", "1987"} <= {*re.findall(r"\w+", text)} for text in kept)


def test_min_difference(server: Server) -> None:
    """Without a text that differs in every word, the query falls back or fails."""
    body = {"task": "fix", "strategy": "greedy", "min_difference": 1.0}
    for result in post(server, queries=QUERIES, **body).json()["results"]:
        assert (result["fallback"], result["fallback_reason"]) == (True, "no_usable_output")
        assert result["queries"] == [result["original"]]
    refused = post(server, queries=QUERIES, strict=True, **body)
    assert refused.status_code == 500
    assert refused.json()["error"]["code"] == "no_usable_output"


def test_task(server: Server) -> None:
    """The task of the model can be named; the first is the default."""
    assert answers(server, task="search") == answers(server, task=None)
    assert answers(server, task="search") != answers(server, task="fix")


def test_cache_changes_nothing_where_it_is_off(server: Server) -> None:
    """The field is accepted; a service without a cache decodes every time."""
    for allowed in (True, False):
        (result,) = post(server, query=QUERIES[0], cache=allowed).json()["results"]
        assert result["cached"] is False
