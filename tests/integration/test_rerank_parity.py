"""Relevance against transformers' own, and the rankings of a thousand pairs."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from support import reranked
from support.conversions import convert_reranker
from t5engine import T5

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "rerank.json").read_text())
PAIRS = reranked.list_pairs()
BOUNDS = {"F32": 1e-4, "F16": 1e-2}


@pytest.fixture(scope="module", params=BOUNDS)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's file, in each type that has a bound."""
    directory: Path = tmp_path_factory.mktemp("parity")
    return convert_reranker(directory, request.param)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "kernels"), [("graph", "auto"), ("graph", "ggml"), ("llama", "ggml")]
)
def test_relevance_is_that_of_transformers(
    file: Path, backend: Literal["graph", "llama"], kernels: Literal["auto", "ggml"]
) -> None:
    """Each score is within the bound of its type, and near ties alone change places."""
    bound = BOUNDS[file.stem.rpartition("-")[2]]
    assert tuple(GOLDEN["tokens"]) == reranked.TOKEN_IDS
    with T5(file, backend=backend, kernels=kernels) as t5:
        for query, scores in list_golden():
            documents = [document for owner, document in PAIRS if owner == query]
            ranked = t5.rank(query, documents)
            assert len(ranked) == len(scores) == reranked.PAIRS_PER_QUERY
            for document in ranked:
                assert abs(document.score - scores[document.index]) <= bound
            for better, worse in pairwise(scores[document.index] for document in ranked):
                assert better >= worse - 2 * bound


def list_golden() -> list[tuple[str, list[float]]]:
    """Lists each query with the scores of its documents."""
    scores: dict[str, list[float]] = {}
    for (query, _), score in zip(PAIRS, GOLDEN["scores"], strict=True):
        scores.setdefault(query, []).append(score)
    return list(scores.items())
