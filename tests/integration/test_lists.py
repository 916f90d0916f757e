"""Answers that are lists of queries, from a model that was taught a dozen of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import listed
from support.decoding import open_model, run_one
from support.parity import golden, with_model
from support.reformulate_client import concatenate_tokens, events_of, select_events
from support.serving import Server
from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Generate, Generated
from t5engine.pool.engine import Engine

TRAINS = [
    "how to travel by train to spain",
    "how to travel by ship to spain",
    "how to fly to spain",
]
LETTERS = [f"letter {letter}" for letter in "abcdef"]
QUERIES = {
    listed.TESLA: ["nikola tesla lifespan", "milutin milankovic lifespan"],
    "compare the price of the iphone 15 and the galaxy 24": ["iphone 15 price", "galaxy 24 price"],
    "area and population of norway and sweden": [
        *("norway area", "norway population", "sweden area", "sweden population")
    ],
    "how do i bake sourdough without a dutch oven": ["bake sourdough without dutch oven"],
    "weather in oslo": ["weather in oslo"],
    "will it rain in bergen": ["will it rain in bergen", "bergen forecast"],
    "apples of two colors": ["red apples", "green apples"],  # with an empty query between
    "cars of two kinds": ["blue cars", "fast cars"],  # with a doubled mark
    "maps of two ages": ["old maps", "new maps"],  # with a mark at the end
    "dogs of two sizes": ["big dogs", "small dogs"],  # with a mark at the beginning
    "the same thing again": ["cheap flights", "cheap hotels"],  # with one of them twice
    "three long searches": TRAINS,
    "nothing at all": ["nothing at all"],  # nothing but marks
    "six letters": LETTERS[:5],  # the task's n is 5
}


@pytest.fixture(scope="module")
def client(list_server: Server) -> Iterator[httpx.Client]:
    with list_server.client() as client:
        yield client


def ask(client: httpx.Client, query: str, **body: object) -> dict[str, Any]:
    response = client.post("/v1/reformulate", json={"query": query, **body})
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()["results"][0]
    return result


def stream(client: httpx.Client, query: str, **body: object) -> list[tuple[str, Any]]:
    body = {"query": query, "stream": True, **body}
    with client.stream("POST", "/v1/reformulate", json=body) as response:
        return list(events_of(response))


def test_the_engine_answers_as_transformers(list_file: Path) -> None:
    """Token for token; drafts from the input help, and change nothing."""
    cases = golden("lists")["cases"]
    assert [case["request"] for case in cases] == [*listed.PAIRS] == [*QUERIES]
    config = GenerationConfig(max_tokens=64)

    async def use(engine: Engine) -> list[list[int]]:
        texts = [listed.PREFIX + case["request"] for case in cases]
        results = await asyncio.gather(
            *(engine.generate(config, text=text, timeout=60) for text in texts)
        )
        return [[*result.generated.best.tokens, 1] for result in results]

    assert with_model(list_file, use, max_queue=len(cases)) == [case["ids"] for case in cases]


@pytest.mark.parametrize(("query", "expected"), QUERIES.items())
def test_lists_over_http(client: httpx.Client, query: str, expected: list[str]) -> None:
    """Each query is a reformulation, in the order of the list, with the list's scores."""
    result = ask(client, query)
    assert result["queries"] == expected
    found = result["reformulations"]
    assert [one["rank"] for one in found] == list(range(1, len(expected) + 1))
    assert len({(one["score"], one["model_score"]) for one in found}) == 1
    is_nothing, is_echo = query == "nothing at all", query == "weather in oslo"
    assert (result["fallback"], result["changed"]) == (is_nothing, not (is_nothing or is_echo))
    assert result["unchanged_reason"] == ("already_good" if is_echo else None)
    assert {one["source"] for one in found} == {"original" if is_nothing else "model"}


def test_each_query_has_its_own_tokens(client: httpx.Client) -> None:
    """They add up to the sequence's, without the marks and the spaces before them."""
    ids = next(case["ids"] for case in golden("lists")["cases"] if case["request"] == listed.TESLA)
    response = client.post("/v1/reformulate", json={"query": listed.TESLA})
    tokens = [one["tokens"] for one in response.json()["results"][0]["reformulations"]]
    decoded = response.json()["usage"]["completion_tokens"]
    assert decoded == len(ids) - 1  # </s>
    assert sum(tokens) == decoded - 2  # the mark, and the space before it
    alone = client.post("/v1/completions", json=raw("nikola tesla lifespan", echo=True)).json()
    assert alone["usage"]["prompt_tokens"] - 1 == tokens[0]


@pytest.mark.parametrize("n", [1, 2, 4, 16])
def test_n_bounds_the_list(client: httpx.Client, n: int) -> None:
    """If the list is shorter, the next best ones add theirs, each query once."""
    for query in (listed.TESLA, "six letters", "the same thing again"):
        full = LETTERS if query == "six letters" else QUERIES[query]
        found = ask(client, query, n=n)["queries"]
        assert found[: len(full)] == full[:n]
        assert min(n, len(full)) <= len(found) <= n
        assert len({text.casefold() for text in found}) == len(found)
        alone = ask(client, query, n=n, strategy="greedy")["queries"]
        assert alone == full[:n]
    assert len(ask(client, listed.TESLA, n=4)["queries"]) == 4


def test_further_queries_have_the_scores_of_their_own_lists(client: httpx.Client) -> None:
    """What a second list adds ranks behind the first list."""
    found = ask(client, listed.TESLA, n=4)["reformulations"]
    scores = [one["score"] for one in found]
    assert scores[0] == scores[1] > scores[2] >= scores[3]


@pytest.mark.parametrize("max_tokens", [1, 4, 8, 9, 10, 12, 19, 21, 26])
def test_a_cut_query_is_dropped_unless_it_is_the_only_one(
    client: httpx.Client, max_tokens: int
) -> None:
    """What comes back of several queries is whole."""
    found = ask(client, "three long searches", max_tokens=max_tokens)["queries"]
    if len(found) == 1:
        assert TRAINS[0].startswith(found[0])
    else:
        assert found == TRAINS[: len(found)]
    streamed = stream(client, "three long searches", max_tokens=max_tokens)
    assert [*concatenate_tokens(streamed).values()] == found


@pytest.mark.parametrize(
    "body", [{}, {"n": 1}, {"n": 3}, {"include_original": True}, {"terms": ["a"]}]
)
def test_streams_add_up(client: httpx.Client, body: dict[str, Any]) -> None:
    """A rank per query, each with the text that the answer has; no mark is ever sent."""
    body = {"queries": [*QUERIES], **body}
    with client.stream("POST", "/v1/reformulate", json={**body, "stream": True}) as response:
        events = list(events_of(response))
    results = select_events(events, "result")
    assert results == client.post("/v1/reformulate", json=body).json()["results"]
    assert concatenate_tokens(events) == {
        (index, one["rank"]): one["text"]
        for index, result in enumerate(results)
        if not result["fallback"]
        for one in result["reformulations"]
    }


def test_a_query_is_sent_when_it_is_complete(client: httpx.Client) -> None:
    """One event each, all but the last before the decoding ends."""
    tokens = select_events(stream(client, "three long searches"), "token")
    assert [(one["rank"], one["text"]) for one in tokens] == [*enumerate(TRAINS, 1)]


def test_options_as_everywhere(client: httpx.Client) -> None:
    """The original first, differences, terms, strictness."""
    assert ask(client, listed.TESLA, include_original=True)["queries"] == [
        *(listed.TESLA, *QUERIES[listed.TESLA])
    ]
    oslo = ask(client, "will it rain in bergen", include_original=True)
    assert oslo["queries"] == ["will it rain in bergen", "bergen forecast"]
    assert [one["source"] for one in oslo["reformulations"]] == ["original", "model"]
    norway = ask(client, "area and population of norway and sweden", min_difference=0.6)
    assert norway["queries"] == ["norway area", "sweden population"]
    kept = ask(client, listed.TESLA, terms=["tesla", "milankovic"])
    assert kept["queries"] == QUERIES[listed.TESLA]
    lost = ask(client, listed.TESLA, terms=["lived"])
    assert (lost["queries"], lost["unchanged_reason"]) == ([listed.TESLA], "guard")
    body = {"query": "nothing at all", "strict": True}
    response = client.post("/v1/reformulate", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (500, "no_usable_output")


@pytest.mark.parametrize(
    ("query", "preserve", "is_kept"),
    [
        (listed.TESLA, ["capitalised", "rare", "negation"], True),
        (listed.TESLA, ["content"], False),
        ("compare the price of the iphone 15 and the galaxy 24", ["numbers", "rare"], True),
        ("how do i bake sourdough without a dutch oven", ["negation", "rare", "keywords"], True),
        ("apples of two colors", ["rare"], True),
        ("dogs of two sizes", ["rare", "content"], False),
    ],
)
def test_guards_judge_the_list(
    client: httpx.Client,
    query: str,
    preserve: list[str],
    is_kept: bool,  # noqa: FBT001
) -> None:
    """What the query has stands in some query of the list; else nothing is changed."""
    result = ask(client, query, preserve=preserve)
    assert result["queries"] == (QUERIES[query] if is_kept else [query])
    assert result["unchanged_reason"] == (None if is_kept else "guard")


def raw(prompt: str, **body: object) -> dict[str, Any]:
    return {"model": "listed", "prompt": prompt, "temperature": 0, "max_tokens": 64, **body}


@pytest.mark.parametrize("request_", ["apples of two colors", "cars of two kinds", listed.TESLA])
def test_completions_show_the_raw_text(client: httpx.Client, request_: str) -> None:
    """With its marks, as the model wrote it."""
    answer = client.post("/v1/completions", json=raw(listed.PREFIX + request_)).json()
    assert answer["choices"][0]["text"] == listed.PAIRS[request_]


def test_models_names_the_separator(client: httpx.Client) -> None:
    """A client can tell which tasks answer with lists."""
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["tasks"], model["separators"]) == ({"search": "search: "}, {"search": " ; "})


def test_drafts_from_the_input(list_file: Path) -> None:
    """Lists copy words of the request, so some tokens are drafted, with the same result."""
    model = open_model(list_file, "graph")
    config = GenerationConfig(max_tokens=64)
    decoded = kept = 0
    for query in listed.PAIRS:
        request = Generate(0, config, text=listed.PREFIX + query, stream=True)
        plain, drafted = run_one(model, request), run_one(model, request, drafts=3)
        assert isinstance(plain.outcome, Generated)
        assert isinstance(drafted.outcome, Generated)
        assert plain.outcome.best.tokens == drafted.outcome.best.tokens
        assert plain.outcome.drafts_kept == 0
        decoded += drafted.outcome.completion_tokens
        kept += drafted.outcome.drafts_kept
    assert kept > 0.15 * decoded
