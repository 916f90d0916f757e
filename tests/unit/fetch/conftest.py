"""A local hub, which tests reach through the real huggingface-hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from support import hub_server, tiny
from support.fetching import Workspace
from support.hub_server import Hub
from t5gguf.fetch import hub as client


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tiny.build("tied_relu", tmp_path_factory.mktemp("fetch") / "source")
    return hub_server.of_directory(directory)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that HF_ENDPOINT points to, and an account without a token."""
    monkeypatch.setattr(client, "RETRY_DELAYS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("T5GGUF_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub_server.serve() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Workspace:
    return Workspace(tmp_path, capsys)
