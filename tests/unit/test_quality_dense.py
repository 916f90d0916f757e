"""Searches by vectors, by hand in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from t5eval.collection import Collection, Query
from t5eval.messages import Answer
from t5eval.quality.answers import Answers, Plan
from t5eval.quality.dense import DENSE_COMBINATIONS, VectorIndex, measure_collection
from t5eval.semantics import Vectors
from t5gguf.tasks import Task

DEGREES = {"east": 0, "north-east": 45, "north": 90, "west": 180, "up": 80, "right": 10}
DOCUMENTS = ("east", "north-east", "north", "west")


def embed(texts: Sequence[str]) -> Vectors:
    """Returns unit vectors of the texts' directions."""
    angles = np.deg2rad([DEGREES[text] for text in texts])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.fixture
def index() -> VectorIndex:
    """The index of the four directions."""
    return VectorIndex(DOCUMENTS, ["up", "right", "up"], embed)


def test_the_nearest_comes_first(index: VectorIndex) -> None:
    """By cosine; excluded documents are left out."""
    assert index.rank(Query("right", frozenset({0})), {"right": 1.0}) == [0, 1, 2, 3]
    assert index.rank(Query("right", frozenset({0}), frozenset({0})), {"right": 1.0}) == [1, 2, 3]


def test_a_mean_vector_lies_between(index: VectorIndex) -> None:
    """Right and up at equal weights are north-east; at 0.3, east is nearer to that than north."""
    query = Query("right", frozenset({0}))
    assert DENSE_COMBINATIONS["mean vector, weights 1 : 1"](index, query, ["up"])[0] == 1
    assert DENSE_COMBINATIONS["mean vector, weights 1 : 0.3"](index, query, ["up"]) == [1, 0, 2, 3]
    assert DENSE_COMBINATIONS["mean vector, weights 1 : 1"](index, query, ["right"])[0] == 0


def test_fused_rankings_by_hand(index: VectorIndex) -> None:
    """Right: east first, up: north first, both: north-east second."""
    query = Query("right", frozenset({0}))
    fused = DENSE_COMBINATIONS["rankings fused, weights 1 : 0.3"](index, query, ["up"])
    assert fused[0] == 0
    assert set(fused) == {0, 1, 2, 3}


def test_every_variant_is_measured() -> None:
    """The original, the answers alone and combined, and the first task's without guards."""
    plan = Plan(
        tasks={"ask": Task(), "mend": Task(corrects=True)},
        collections=[Collection("small", [*DOCUMENTS], [Query("right", frozenset({0}))])],
        queries={},
        domains={},
    )
    answers = {
        ("retrieval", "small", "ask", variant): [Answer(["up"])]
        for variant in ("single", "several", "several, no guards")
    }
    stored = {
        "/".join(key): {"requests": "", "answers": [{"texts": answer.texts} for answer in given]}
        for key, given in answers.items()
    }
    rows = measure_collection(plan, plan.collections[0], Answers(stored), embed)["rows"]
    assert [row["task"] for row in rows] == [
        *(None, "ask"),
        *["ask"] * len(DENSE_COMBINATIONS),
        *["ask, no guards"] * len(DENSE_COMBINATIONS),
    ]
    assert rows[0]["nDCG@10"] == 1
    assert rows[1]["nDCG@10"] == pytest.approx(1 / np.log2(4))  # up: east is the third
