"""Runs a GGUF file through engine, worker and Reformulator, as the service does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Never

from tqdm import tqdm

from t5eval.errors import EvaluationError
from t5eval.messages import Answer, Request
from t5serve.concurrency import gather
from t5serve.errors import ContextLengthExceeded, NoUsableOutput, StartupError
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.lexicon import EMPTY, Lexicon
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.settings import Settings

CONCURRENCY = 32  # requests in flight
TIMEOUT_MS = 600_000


def answer_requests(
    model: str,
    requests: Sequence[Request],
    prefixes: Mapping[str, str],
    lexicon: Lexicon = EMPTY,
) -> list[Answer]:
    """Returns the service's answers. The service's settings in the environment apply.

    Args:
        model: The path of a GGUF file, or the name of a recipe.
        requests: Their deadlines are ignored.
        prefixes: Prefixes by task. They replace those in the model's file.
        lexicon: The words of the collection that is searched.

    Raises:
        EvaluationError: The model can't be served.
        RequestError: The model can't do what a request asks for.
    """
    settings = Settings(model=model, max_queue=CONCURRENCY)
    try:
        return asyncio.run(_load_and_answer(settings, requests, prefixes, lexicon))
    except StartupError as error:
        raise EvaluationError(f"{model}: {error}") from error


async def _load_and_answer(
    settings: Settings, requests: Sequence[Request], prefixes: Mapping[str, str], lexicon: Lexicon
) -> list[Answer]:
    async with ServedModel.from_settings(settings) as model:
        profile = model.profile
        if prefixes:
            profile = Profile.of_prefixes(prefixes, profile.generation)
        reformulator = Reformulator(model.engine, profile, lexicon=lexicon)
        return await reformulate_all(reformulator, requests)


async def reformulate_all(reformulator: Reformulator, requests: Sequence[Request]) -> list[Answer]:
    """Answers `CONCURRENCY` requests at a time; returns the answers in the requests' order."""
    answers: dict[int, Answer] = {}
    queue = iter(enumerate(requests))

    async def call(bar: tqdm[Never]) -> None:
        for index, request in queue:
            answers[index] = await _reformulate(reformulator, request)
            bar.update()

    with tqdm(total=len(requests), desc="answers", unit="query", disable=None) as bar:
        await gather(call(bar) for _ in range(CONCURRENCY))
    return [answers[index] for index in range(len(requests))]


async def _reformulate(reformulator: Reformulator, request: Request) -> Answer:
    # Strict: a crash must end the evaluation, and not count as a model that repeats its input.
    options = replace(request.options, strict=True, timeout_ms=TIMEOUT_MS)
    try:
        (result,) = await reformulator.reformulate([request.query], options)
    except (NoUsableOutput, ContextLengthExceeded):
        return Answer([request.query], fell_back=True)
    texts = [reformulation.text for reformulation in result.reformulations]
    scores = [reformulation.score for reformulation in result.reformulations]
    return Answer(texts, unchanged_reason=result.unchanged_reason, scores=scores)
