"""The settings, and the model that they name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from t5serve.errors import StartupError
from t5serve.settings import Settings, describe_faults


def test_defaults_serve_the_embedded_model() -> None:
    """Without settings the included model is served."""
    path, recipe = Settings().find_model()
    assert path.is_file()
    assert recipe is not None
    assert recipe.file == path.name


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are read from the environment."""
    monkeypatch.setenv("T5SERVE_PORT", "9000")
    monkeypatch.setenv("T5SERVE_THREADS", "3")
    settings = Settings()
    assert (settings.port, settings.threads) == (9000, 3)


def test_a_directory_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    """Ggml would look for backends in vain."""
    with pytest.raises(ValidationError) as caught:
        Settings(ggml_backends=tmp_path / "none")
    message = describe_faults(caught.value)
    assert message.startswith("T5SERVE_GGML_BACKENDS: ")
    assert message.endswith("is not valid; expected a directory")


def test_fixed() -> None:
    """Settings are immutable."""
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_a_path_is_a_file_without_recipe(tmp_path: Path) -> None:
    """A GGUF file is served by its own metadata."""
    file = tmp_path / "m.gguf"
    file.touch()
    assert Settings(model=str(file)).find_model() == (file, None)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("/nowhere/m.gguf", "does not exist"),
        ("m.gguf", "does not exist"),
        ("/", "is a directory; convert the checkpoint with `t5gguf convert / --out"),
        ("/dev/null", "is not a file"),
        ("x" * 300, "File name too long|no recipe"),
        ("no-such-recipe", "there are: .*tiny-t5"),
        (
            "t5-small",
            "does not exist yet; run .venv/bin/python scripts/fetch.py t5-small --convert Q8_0",
        ),
        ("t5-query-reformulation-rl-gguf", "fetch.py t5-query-reformulation-rl-gguf$"),
    ],
)
def test_what_is_not_there_is_a_startup_error(
    model: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the missing model, and the command that fetches it."""
    monkeypatch.setenv("T5GGUF_MODELS", str(tmp_path))
    with pytest.raises(StartupError, match=message):
        Settings(model=model).find_model()


def test_one_request_must_fit_the_queue() -> None:
    """The queue must hold a full request."""
    with pytest.raises(ValidationError, match="must not be below"):
        Settings(max_queue=8, max_queries=9)


def test_a_scale_is_a_number() -> None:
    """Infinity has no representation in the worker's configuration."""
    with pytest.raises(ValidationError):
        Settings(logit_scale=float("inf"))
