"""Which requests are sent, and the file that keeps their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from t5eval.collection import Collection, Query
from t5eval.messages import Answer, Request
from t5eval.quality.answers import Answers, Plan, plan_batches
from t5gguf.tasks import Task
from t5serve.reformulation.lexicon import Lexicon

pytest.importorskip("bm25s")

PLAN = Plan(
    tasks={"ask": Task(n=2, num_beams=8, preserve=["numbers"]), "mend": Task(corrects=True)},
    collections=[Collection("small", ["red apples", "Apples"], [Query("rde", frozenset({0}))])],
    queries={"MS MARCO": ["buy a guitar", "play", "10 guitars", "phones"]},
    domains={"shop": ["red shoes"], "web": ["how far is mars"]},
)


class Echo:
    """Answers each request with the query, and counts the requests."""

    def __init__(self) -> None:
        self.lexicons: list[Lexicon] = []
        self.requests: list[Request] = []

    def __call__(self, requests: Sequence[Request], lexicon: Lexicon) -> list[Answer]:
        self.requests += requests
        self.lexicons.append(lexicon)
        return [Answer([request.query], unchanged_reason="guard") for request in requests]


def test_requests_have_the_defaults_of_the_recipe() -> None:
    """But n, and no guards where they are left out on purpose; terms are words of the query."""
    batches = {batch.key: batch for batch in plan_batches(PLAN)}
    several = batches["retrieval", "small", "ask", "several"].requests[0].options
    assert (several.n, several.default_num_beams) == (3, 8)
    assert several.preserve == {"numbers"}
    unguarded = batches["retrieval", "small", "ask", "several, no guards"].requests[0].options
    assert unguarded.preserve == set()
    assert batches["keeping", "MS MARCO", "mend", "guards"].requests[0].options.corrects
    assert len(batches["keeping", "MS MARCO", "ask", "guards"].requests) == 4
    terms = batches["keeping", "MS MARCO", "ask", "terms"].requests
    assert [(request.query, request.options.terms) for request in terms][1] == (
        "phones",
        ("phones",),
    )
    lexicon = batches["typos", "small", "mend", "typed", "lexicon"].lexicon
    assert dict(lexicon.counts) == {"red": 1, "apples": 2}
    assert ("retrieval", "small", "mend", "several") not in batches
    reading = batches["reading", "ask"].requests
    assert [(request.query, request.options.n) for request in reading] == [
        ("red shoes", 4),
        ("how far is mars", 4),
    ]


def test_answers_are_kept_between_runs(tmp_path: Path) -> None:
    """Each batch is asked once; of a changed plan, the changed batches are asked again."""
    path = tmp_path / "answers.json"
    batches = [*plan_batches(PLAN)]
    first = Echo()
    answers = Answers.read(path)
    answers.complete(batches, first)
    assert len(first.requests) == sum(len(batch.requests) for batch in batches)
    assert len(first.lexicons) == 2  # a load of the model without a lexicon, and one with it
    given = answers["retrieval", "small", "ask", "single"]
    assert given == [Answer(["rde"], unchanged_reason="guard")]
    again = Echo()
    reread = Answers.read(path)
    reread.complete([*plan_batches(PLAN)], again)
    assert again.requests == []
    assert reread["retrieval", "small", "ask", "single"] == given
    other = replace(PLAN, queries={"MS MARCO": ["buy a banjo", "play", "10 guitars", "phones"]})
    reread.complete([*plan_batches(other)], again)
    assert {request.query for request in again.requests} == {
        *("buy a banjo", "play", "10 guitars", "phones")
    }
    assert {request.options.task for request in again.requests} == {"ask", "mend"}
