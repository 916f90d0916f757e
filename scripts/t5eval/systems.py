"""What is evaluated: a GGUF file through the service's own engine, or a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from t5eval.errors import EvaluationError
from t5serve.errors import StartupError
from t5serve.reformulation.options import Options
from t5serve.settings import Settings

CHECKPOINT = "checkpoint"  # what scripts/train.py calls the directory


@dataclass(frozen=True)
class Request:
    """One query, and what is asked for it."""

    query: str
    options: Options


@dataclass(frozen=True)
class Answer:
    """Reformulations, best first; the query alone where the model gave nothing usable."""

    texts: list[str]
    fell_back: bool = False


def answers(model: str, requests: Sequence[Request], prefixes: Mapping[str, str]) -> list[Answer]:
    """What a model makes of the requests, in order, with a progress bar.

    Args:
        model: a GGUF's path, a recipe's name or a checkpoint's directory.
        requests: their deadlines are not looked at.
        prefixes: by task, instead of those that the model tells.

    Raises:
        EvaluationError: the model can't be used.
        RequestError: it can't do what is asked.
    """
    if Path(model).is_dir():
        from t5eval import checkpoint  # noqa: PLC0415 - loads torch

        return checkpoint.answers(Path(model), requests, prefixes)
    from t5eval import served  # noqa: PLC0415 - nothing of it is needed for a checkpoint

    return served.answers(model, requests, prefixes)


def check(model: str) -> None:
    """Whether there is such a model, before any is asked for hours.

    Raises:
        EvaluationError: there is none.
    """
    if Path(model).is_dir():
        if not (Path(model) / "config.json").is_file():
            raise EvaluationError(f"{model} holds no checkpoint: config.json is not there")
        return
    try:
        Settings(model=model).find_model()
    except StartupError as error:
        raise EvaluationError(f"{model}: {error}") from error


def names(models: Sequence[str]) -> list[str]:
    """What tables call the models: the last part of their paths, of RUN/checkpoint the one before.

    Raises:
        EvaluationError: two of one name.
    """
    paths = [Path(model) for model in models]
    paths = [
        path.parent if path.name == CHECKPOINT and path.parent.name else path for path in paths
    ]
    found = [path.name.removesuffix(".gguf") for path in paths]
    if len(set(found)) < len(found):
        raise EvaluationError(f"two models have one name: {', '.join(found)}")
    return found
