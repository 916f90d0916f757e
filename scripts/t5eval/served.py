"""A GGUF file through engine, worker and Reformulator, as the service runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Never

from tqdm import tqdm

from t5eval.errors import EvaluationError
from t5eval.systems import Answer, Request
from t5serve.concurrency import gather
from t5serve.errors import ContextLengthExceeded, NoUsableOutput, StartupError
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.settings import Settings

TOGETHER = 32
TIMEOUT_MS = 600_000


def answers(model: str, requests: Sequence[Request], prefixes: Mapping[str, str]) -> list[Answer]:
    """What the service would answer; its settings in the environment count here too.

    Raises:
        EvaluationError: the model can't be served.
        RequestError: it can't do what is asked.
    """
    settings = Settings(model=model, max_queue=TOGETHER)
    try:
        return asyncio.run(_answers(settings, requests, prefixes))
    except StartupError as error:
        raise EvaluationError(f"{model}: {error}") from error


async def _answers(
    settings: Settings, requests: Sequence[Request], prefixes: Mapping[str, str]
) -> list[Answer]:
    async with ServedModel.from_settings(settings) as model:
        profile = model.profile
        if prefixes:
            profile = Profile.of_prefixes(prefixes, profile.generation)
        return await all_of(Reformulator(model.engine, profile), requests)


async def all_of(reformulator: Reformulator, requests: Sequence[Request]) -> list[Answer]:
    """So many at a time, in order."""
    found: dict[int, Answer] = {}
    work = iter(enumerate(requests))

    async def caller(bar: tqdm[Never]) -> None:
        for place, request in work:
            found[place] = await _one(reformulator, request)
            bar.update()

    with tqdm(total=len(requests), desc="answers", unit="query", disable=None) as bar:
        await gather(caller(bar) for _ in range(TOGETHER))
    return [found[place] for place in range(len(requests))]


async def _one(reformulator: Reformulator, request: Request) -> Answer:
    # Strict: a crash must end an evaluation, and not pass for a model that repeats its input.
    options = replace(request.options, strict=True, timeout_ms=TIMEOUT_MS)
    try:
        (result,) = await reformulator.reformulate([request.query], options)
    except (NoUsableOutput, ContextLengthExceeded):
        return Answer([request.query], fell_back=True)
    return Answer([one.text for one in result.reformulations])
