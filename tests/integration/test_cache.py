"""Cached answers of the real service: equal to computed ones, and there whatever the load."""

from __future__ import annotations

import copy
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import OpenAI

from support.overloading import busy, metric, standing_still, wait_for
from support.serving import NO_TLS, Server, start, stop
from t5gguf import recipe

Json = dict[str, Any]
QUERIES = ["how do i learn python 3", "best cheap laptop not from 2019", "Who wrote 'Dune'?"]
SLOW = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def caching() -> Iterator[Server]:
    """A service as a user starts it: the cache is on."""
    running = start(cache_bytes="", timeout_ms="60000", log_format="json", stall_seconds="60")
    running.wait_until_ready()
    yield running
    assert "Traceback" not in stop(running)


def lookups(server: Server, outcome: str) -> int:
    return int(
        metric(server, f't5serve_cache_lookups_total{{model="tiny-t5",outcome="{outcome}"}}')
    )


def post(server: Server, path: str, body: Json) -> Json:
    with server.client() as client:
        response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def without_times(answer: Json) -> Json:
    """Returns an answer without what may differ: ids, times, `cached`."""
    answer = copy.deepcopy(answer)
    for name in ("id", "created", "timings_ms"):
        answer.pop(name, None)
    for result in answer.get("results", []):
        result.pop("cached")
    return answer


REFORMULATIONS = st.fixed_dictionaries(
    {"query": st.sampled_from(QUERIES)},
    optional={
        "task": st.sampled_from(["fix", "paraphrase"]),
        "n": st.integers(1, 3),
        "num_beams": st.sampled_from([4, 6]),
        "length_penalty": st.sampled_from([0.5, 1.5]),
        "repetition_penalty": st.sampled_from([1.2]),
        "no_repeat_ngram_size": st.sampled_from([2]),
        "max_tokens": st.integers(4, 16),
        "include_original": st.booleans(),
        "preserve": st.lists(st.sampled_from(["numbers", "negation", "quoted"]), unique=True),
        "terms": st.just(["python"]),
        "min_score": st.just(-1.0),
        "min_difference": st.just(0.2),
    },
)
SAMPLES = st.fixed_dictionaries(
    {
        "query": st.sampled_from(QUERIES),
        "strategy": st.just("sample"),
        "seed": st.integers(0, 2),
        "preserve": st.just([]),
    },
    optional={
        "n": st.integers(1, 3),
        "temperature": st.sampled_from([0.5, 1.5]),
        "top_k": st.sampled_from([0, 5]),
        "top_p": st.sampled_from([0.5, 0.9]),
        "min_p": st.just(0.1),
        "typical_p": st.just(0.7),
    },
)


@pytest.mark.slow
@SLOW
@given(body=REFORMULATIONS | SAMPLES)
def test_a_cached_reformulation_is_the_computed_one(caching: Server, body: Json) -> None:
    """Over all parameters: equal in every field but `cached`, times and ids, strict or not."""
    past = post(caching, "/v1/reformulate", {**body, "cache": False})
    first = post(caching, "/v1/reformulate", body)
    second = post(caching, "/v1/reformulate", body)
    assert without_times(first) == without_times(second) == without_times(past)
    (result,) = second["results"]
    is_left_alone = not past["usage"]["total_tokens"]
    assert result["cached"] is not is_left_alone
    assert past["results"][0]["cached"] is False
    times = second["timings_ms"]
    assert (times["tokenize"], times["encode"], times["decode"]) == (0, 0, 0)


COMPLETIONS = st.fixed_dictionaries(
    {"model": st.just("tiny-t5"), "prompt": st.sampled_from([*QUERIES, [37, 5, 1], QUERIES])},
    optional={
        "max_tokens": st.integers(1, 12),
        "temperature": st.sampled_from([0, 0.7]),
        "top_p": st.sampled_from([0.5, 1]),
        "n": st.integers(1, 2),
        "best_of": st.just(3),
        "logprobs": st.integers(0, 2),
        "stop": st.sampled_from([["a"], "py"]),
        "presence_penalty": st.just(0.5),
        "frequency_penalty": st.just(0.5),
        "logit_bias": st.just({"37": -5, "40": 1}),
        "echo": st.booleans(),
        "top_k": st.just(5),
    },
)


@pytest.mark.slow
@SLOW
@given(body=COMPLETIONS, seed=st.integers(0, 2))
def test_a_cached_completion_is_the_computed_one(caching: Server, body: Json, seed: int) -> None:
    """Equal to the last digit of a log-probability, as one body and as a stream."""
    body = {**body, "seed": seed}
    past = post(caching, "/v1/completions", {**body, "cache": False})
    hits = lookups(caching, "hit")
    answers = [post(caching, "/v1/completions", body) for _ in range(2)]
    assert [without_times(answer) for answer in answers] == [without_times(past)] * 2
    assert lookups(caching, "hit") > hits
    if body.get("best_of") is None:
        choices = past["choices"]
        assert _streamed(caching, body) == [
            (choice["text"], choice["finish_reason"]) for choice in choices
        ]


def _streamed(server: Server, body: Json) -> list[tuple[str, str]]:
    """Returns text and reason of each choice of a stream."""
    texts: dict[int, str] = {}
    reasons: dict[int, str] = {}
    with server.client() as client:
        stream = client.post("/v1/completions", json={**body, "stream": True})
    for line in stream.text.splitlines():
        if line.startswith("data: {"):
            (choice,) = json.loads(line.removeprefix("data: "))["choices"]
            index = choice["index"]
            texts[index] = texts.get(index, "") + choice["text"]
            reasons[index] = choice["finish_reason"] or ""
    return [(texts[index], reasons[index]) for index in sorted(texts)]


def test_a_chat_is_cached(caching: Server) -> None:
    """The second answer has the same content and usage; an extra field goes past the cache."""
    body: Json = {
        "model": "tiny-t5",
        "messages": [{"role": "user", "content": "learn to knit socks"}],
    }
    first = post(caching, "/v1/chat/completions", body)
    hits, misses = lookups(caching, "hit"), lookups(caching, "miss")
    second = post(caching, "/v1/chat/completions", body)
    assert without_times(first) == without_times(second)
    assert lookups(caching, "hit") > hits
    assert lookups(caching, "miss") == misses
    hits = lookups(caching, "hit")
    with OpenAI(base_url=f"{caching.url}/v1", api_key="none") as client:
        past = client.chat.completions.create(**body, extra_body={"cache": False})
    assert past.choices[0].message.content == first["choices"][0]["message"]["content"]
    assert lookups(caching, "hit") == hits


def test_samples_without_a_seed_are_drawn_anew(caching: Server) -> None:
    """They are neither looked up nor kept."""
    body = {"model": "tiny-t5", "prompt": "a", "max_tokens": 12, "temperature": 2}
    before = [lookups(caching, outcome) for outcome in ("hit", "miss", "shared")]
    texts = {post(caching, "/v1/completions", body)["choices"][0]["text"] for _ in range(4)}
    assert len(texts) > 1
    assert [lookups(caching, outcome) for outcome in ("hit", "miss", "shared")] == before


def test_the_log_says_what_was_cached(caching: Server) -> None:
    """A hit's line has `cached` and no times of a worker; usage counts the tokens all the same."""
    body = {"queries": ["where to buy a kite", "how tall is a giraffe"], "preserve": []}
    before = len(request_lines(caching))
    first, second = (post(caching, "/v1/reformulate", body) for _ in range(2))
    assert first["usage"] == second["usage"]
    assert first["usage"]["completion_tokens"] > 0
    wait_for(lambda: len(request_lines(caching)) == before + 2)
    decoded, hit = request_lines(caching)[before:]
    assert (decoded["inputs"], decoded["cached"]) == (2, 0)
    assert hit["cached"] == 2
    assert not {"inputs", "worker_ms", "decode_ms"} & set(hit)


def request_lines(server: Server) -> list[Json]:
    """Returns the lines of the log that are about reformulations."""
    # Opened anew: the service writes at the position of the open file.
    text = Path(f"/proc/self/fd/{server.log.fileno()}").read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return [line for line in lines if line.get("route") == "/v1/reformulate"]


def test_equal_requests_at_once_are_decoded_once(caching: Server) -> None:
    """While the worker stands still, eight equal requests are one job; all are answered."""
    body = {"query": "why is the sea salty and the lake not", "preserve": []}
    misses, shared = lookups(caching, "miss"), lookups(caching, "shared")
    with ThreadPoolExecutor(8) as pool:
        with standing_still(caching):
            futures = [pool.submit(post, caching, "/v1/reformulate", body) for _ in range(8)]
            wait_for(lambda: busy(caching) == (1, 0))
            time.sleep(0.3)  # for the others to arrive; one that comes later is a hit
        answers = [future.result() for future in futures]
    assert len({json.dumps(without_times(answer)) for answer in answers}) == 1
    assert sum(not answer["results"][0]["cached"] for answer in answers) == 1
    assert lookups(caching, "miss") == misses + 1
    assert lookups(caching, "shared") > shared


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    """A service that decodes one input at a time while two may wait, with a cache."""
    running = start(
        cache_bytes="",
        max_batch="1",
        max_queue="2",
        max_queries="2",
        threads="1",
        timeout_ms="60000",
        stall_seconds="60",
    )
    running.wait_until_ready()
    yield running
    assert "Traceback" not in stop(running)


KNOWN: Json = {"query": "how do i learn python"}
ROUTES: list[tuple[str, Json]] = [
    ("/v1/reformulate", KNOWN),
    ("/v1/reformulate", {**KNOWN, "strict": True}),
    ("/v1/reformulate", {**KNOWN, "stream": True}),
    ("/v1/completions", {"model": "tiny-t5", "prompt": KNOWN["query"], "temperature": 0}),
    ("/v1/chat/completions", {"model": "tiny-t5", "messages": [
        {"role": "user", "content": KNOWN["query"]}
    ]}),
]  # fmt: skip


def test_hits_answer_while_the_queue_is_full(small: Server) -> None:
    """Under overload known results are answered on every route, others are refused as before."""
    with ThreadPoolExecutor(3) as pool, small.client() as client:
        expected = [client.post(path, json=body) for path, body in ROUTES]
        with standing_still(small):
            wide = [{"query": f"learn {i} words", "task": "paraphrase"} for i in range(3)]
            others = [pool.submit(client.post, "/v1/reformulate", json=body) for body in wide]
            wait_for(lambda: busy(small) == (1, 2))
            for _ in range(3):  # the first refusal makes the service answer early
                strange = client.post("/v1/reformulate", json={"query": "x y", "strict": True})
                assert strange.status_code == 429
                past = client.post("/v1/reformulate", json={**KNOWN, "cache": False})
                assert past.json()["results"][0]["fallback_reason"] == "queue_full"
                for (path, body), first in zip(ROUTES, expected, strict=True):
                    answer = client.post(path, json=body)
                    assert answer.status_code == 200
                    if body.get("stream") is None:
                        assert without_times(answer.json()) == without_times(first.json())
                    assert '"fallback":true' not in answer.text.replace(" ", "")
        assert [other.result().status_code for other in others] == [200] * 3


def test_hits_answer_while_no_worker_is_there(small: Server) -> None:
    """Known results are answered while the only worker starts anew, where others are refused."""
    wait_for(lambda: busy(small) == (0, 0))
    with small.client() as client:
        for path, body in ROUTES:
            client.post(path, json=body).raise_for_status()
        hits = lookups(small, "hit")
        (worker,) = small.workers()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: httpx.get(f"{small.url}/readyz", verify=NO_TLS).status_code == 503)
        answers = [client.post(path, json=body) for path, body in ROUTES]
        assert [answer.status_code for answer in answers] == [200] * len(ROUTES)
        assert lookups(small, "hit") >= hits + len(ROUTES)
    small.wait_until_ready()


def test_the_cache_can_be_small_or_off() -> None:
    """A small cache drops results and counts it; `/metrics` has its size."""
    model = str(recipe.load("tiny-t5").model_path())
    server = start(cache_bytes="1500", model=model)
    try:
        server.wait_until_ready()
        for number in range(6):
            post(server, "/v1/reformulate", {"query": f"buy {number} apples", "preserve": []})
        assert metric(server, "t5serve_cache_evictions_total") > 0
        assert 0 < metric(server, "t5serve_cache_bytes") <= 1500
    finally:
        stop(server)
