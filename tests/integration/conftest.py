"""Fixtures on the embedded model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.conversions import convert_lists, convert_reranker
from support.serving import Server, start, stop
from t5gguf import recipe


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One service for all tests that leave it as it was."""
    running = start()
    running.wait_until_ready()
    yield running
    stop(running)


@pytest.fixture(scope="session")
def embedded() -> Path:
    """The embedded model's file."""
    return recipe.load("tiny-t5").model_path()


@pytest.fixture(scope="session")
def list_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model whose answers are lists of queries."""
    return convert_lists(tmp_path_factory.mktemp("listed"))


@pytest.fixture(scope="session")
def list_server(list_file: Path) -> Iterator[Server]:
    """One service with that model."""
    running = start(model=str(list_file), timeout_ms="60000")
    running.wait_until_ready()
    yield running
    stop(running)


@pytest.fixture(scope="session")
def reranker_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model that reranks, in F32."""
    return convert_reranker(tmp_path_factory.mktemp("reranked"))


@pytest.fixture(scope="session")
def rerank_server(reranker_file: Path) -> Iterator[Server]:
    """One service with that model, and with a cache."""
    running = start(model=str(reranker_file), timeout_ms="60000", cache_bytes="")
    running.wait_until_ready()
    yield running
    stop(running)
