"""The models to evaluate: GGUF files through the service's engine, and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from t5eval.errors import EvaluationError
from t5eval.messages import Answer, Request
from t5serve.errors import StartupError
from t5serve.settings import Settings

CHECKPOINT = "checkpoint"  # the directory that scripts/train.py writes


def answer_requests(
    model: str, requests: Sequence[Request], prefixes: Mapping[str, str]
) -> list[Answer]:
    """Returns a model's answers in the requests' order, and shows a progress bar.

    Args:
        model: The path of a GGUF file, the name of a recipe, or a checkpoint's directory.
        requests: Their deadlines are ignored.
        prefixes: Prefixes by task. They replace those in the model's file.

    Raises:
        EvaluationError: The model can't be used.
        RequestError: The model can't do what a request asks for.
    """
    if Path(model).is_dir():
        from t5eval import checkpoint  # noqa: PLC0415 - loads torch

        return checkpoint.answer_requests(Path(model), requests, prefixes)
    from t5eval import service  # noqa: PLC0415 - a checkpoint does not need the service

    return service.answer_requests(model, requests, prefixes)


def check_model(model: str) -> None:
    """Checks that a model exists, before hours of decoding.

    Raises:
        EvaluationError: The model does not exist.
    """
    if Path(model).is_dir():
        if not (Path(model) / "config.json").is_file():
            raise EvaluationError(f"{model} holds no checkpoint: config.json is not there")
        return
    try:
        Settings(model=model).find_model()
    except StartupError as error:
        raise EvaluationError(f"{model}: {error}") from error


def name_models(models: Sequence[str]) -> list[str]:
    """Returns the names of models in tables: the last part of each path.

    RUN/checkpoint is called RUN.

    Raises:
        EvaluationError: Two models have the same name.
    """
    paths = [Path(model) for model in models]
    paths = [
        path.parent if path.name == CHECKPOINT and path.parent.name else path for path in paths
    ]
    names = [path.name.removesuffix(".gguf") for path in paths]
    if len(set(names)) < len(names):
        raise EvaluationError(f"two models have one name: {', '.join(names)}")
    return names
