"""Checks that a generation's stream adds up to its answer."""

from __future__ import annotations

import random
from collections.abc import Sequence

from msgspec.structs import replace

from support.decoding import Answer, run_one
from t5engine.messages import Generate, Output
from t5engine.worker.model import Model


def draw_stops(chance: random.Random, outputs: Sequence[Output]) -> list[str]:
    """Up to three strings, most of them from the texts."""
    stops = ["never there"] if chance.random() < 0.2 else []
    for _ in range(chance.randint(0, 2)):
        text = chance.choice(outputs).text
        if text:
            first = chance.randrange(len(text))
            stops.append(text[first : first + chance.randint(1, 4)])
    return stops


def check_texts(answer: Answer, stops: Sequence[str]) -> None:
    """Texts have no stop string, and are those of the tokens joined."""
    for output in answer.outputs:
        assert not any(stop in output.text for stop in stops)
        if output.details is not None:
            assert "".join(token.text for token in output.details) == output.text
            ids = [token.id for token in output.details]
            assert ids == output.tokens[: len(ids)]


def check_stream(model: Model, request: Generate) -> None:
    """What comes in parts is what comes at once, for every sequence."""
    whole = run_one(model, request)
    stream = run_one(model, replace(request, stream=True))
    assert not whole.progress
    assert stream.outputs == whole.outputs
    check_texts(whole, request.stop)
    for index, output in enumerate(whole.outputs):
        text, tokens = stream.streamed(index)
        assert text == output.text
        assert tokens == (output.details or [])
