"""Fixtures on the embedded model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
