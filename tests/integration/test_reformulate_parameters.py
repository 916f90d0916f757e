"""The parameters of POST /v1/reformulate over a real socket."""

from __future__ import annotations

import json
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
    """Likewise, asked for once."""
    return answers(url, **json.loads(body))


Event = tuple[str, Any]


@pytest.mark.parametrize(
    ("body", "least", "most"),
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
        # Of the 20 beams that there can be most differ in their capitals only.
        ({"strategy": "beam", "n": 16, "max_tokens": 8}, 4, 16),
    ],
)
def test_every_strategy(server: Server, body: dict[str, Any], least: int, most: int) -> None:
    """At most as many as were asked for, all different, with scores and ranks."""
    response = post(server, query=QUERIES[0], strict=True, **body)
    assert response.status_code == 200
    (result,) = response.json()["results"]
    queries = result["queries"]
    assert least <= len(queries) <= most
    assert len({unicodedata.normalize("NFKC", query).casefold() for query in queries}) == len(
        queries
    )
    assert [one["text"] for one in result["reformulations"]] == queries
    assert [one["rank"] for one in result["reformulations"]] == list(range(1, len(queries) + 1))
    assert all(one["score"] < 0 for one in result["reformulations"])
    assert most == 1 or QUERIES[0] not in queries
    # Those that were not chosen have cost something as well.
    usage = response.json()["usage"]
    assert usage["completion_tokens"] >= sum(one["tokens"] for one in result["reformulations"])


@pytest.mark.parametrize(
    ("base", "given"),
    [
        (PLAIN, {"max_tokens": 3}),
        (PLAIN, {"repetition_penalty": 5.0}),
        (PLAIN, {"no_repeat_ngram_size": 1}),
        (BEAMS, {"n": 2}),
        (BEAMS, {"num_beams": 3}),
        (BEAMS, {"length_penalty": 5.0}),
        (GROUPS, {"num_beam_groups": 2}),
        (GROUPS, {"diversity_penalty": 5.0}),
        (GROUPS, {"num_beams": 6}),
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
    server: Server, base: dict[str, Any], given: dict[str, Any]
) -> None:
    """None is accepted and ignored."""
    assert base_answers(server.url, json.dumps(base)) != answers(server, **{**base, **given})


def test_auto(server: Server) -> None:
    """Greedy for one, diverse beams for several, sampling for who asks for a temperature."""
    assert answers(server) == answers(server, strategy="greedy")
    assert answers(server, n=3) == answers(server, strategy="diverse_beam", n=3)
    sampled = answers(server, **{**SAMPLES, "strategy": "auto"})
    assert sampled == answers(server, **SAMPLES)


def test_seed(server: Server) -> None:
    """The same seed gives the same, alone or among others; without one it is always another."""
    body = {**SAMPLES, "strict": True}
    first, *_ = answers(server, **body)
    again, *_ = answers(server, **body)
    (alone,) = post(server, query=QUERIES[0], **body).json()["results"]
    assert first == again == alone["queries"]
    wild = {"strategy": "sample", "temperature": 3.0}
    assert answers(server, **wild) != answers(server, **wild)


def test_temperature_zero_is_greedy(server: Server) -> None:
    """Sampling without chance."""
    sampled = answers(server, strategy="sample", temperature=0)
    assert sampled == answers(server, strategy="greedy")


def test_include_original(server: Server) -> None:
    """It comes first, beside the n."""
    response = post(server, queries=QUERIES, include_original=True, strict=True, **BEAMS)
    for query, result in zip(QUERIES, response.json()["results"], strict=True):
        first, *others = result["reformulations"]
        assert first == {"text": query, "score": None, "rank": 1, "tokens": 0, "source": "original"}
        assert 1 <= len(others) <= 3
        assert {one["source"] for one in others} == {"model"}
        assert query not in [one["text"] for one in others]
        assert (result["fallback"], result["queries"][0]) == (False, query)


def test_preserve(server: Server) -> None:
    """Without it this model loses a number; with it the next best are taken."""
    query = "iPhone 13 vs iPhone 14 camera"
    asked: dict[str, Any] = {"queries": [query], "strategy": "beam", "n": 4}
    (plain,) = answers(server, **asked)
    (kept,) = answers(server, preserve=["numbers", "quoted", "capitalised"], **asked)
    assert any("13" not in text for text in plain)
    assert kept != [query]
    assert all("13" in text and "14" in text and "iPhone" in text for text in kept)


def test_min_difference(server: Server) -> None:
    """All or nothing: what has not one word in common, which a mended query never has."""
    body = {"task": "fix", "strategy": "greedy", "min_difference": 1.0}
    for result in post(server, queries=QUERIES, **body).json()["results"]:
        assert (result["fallback"], result["fallback_reason"]) == (True, "no_usable_output")
        assert result["queries"] == [result["original"]]
    refused = post(server, queries=QUERIES, strict=True, **body)
    assert refused.status_code == 500
    assert refused.json()["error"]["code"] == "no_usable_output"


def test_task(server: Server) -> None:
    """The one that the model has can be named."""
    assert answers(server, task="paraphrase") == answers(server)


def test_cache_changes_nothing_yet(server: Server) -> None:
    """It may be asked for or not; nothing is cached so far."""
    for wanted in (True, False):
        (result,) = post(server, query=QUERIES[0], cache=wanted).json()["results"]
        assert result["cached"] is False
