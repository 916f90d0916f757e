"""Messages between the service and its workers."""

from __future__ import annotations

import pytest

from support.fakes import MODEL
from t5engine.decoding.parameters import GenerationConfig
from t5engine.frames import HEADER, pack, unpack_from_worker, unpack_to_worker
from t5engine.messages import (
    Cancel,
    Cut,
    Failed,
    FromWorker,
    Generate,
    Generated,
    Judge,
    Judged,
    Output,
    Progress,
    Ready,
    Refused,
    Score,
    Scored,
    Timings,
    Token,
    Tokenize,
    Tokenized,
    ToWorker,
    Unloadable,
)

BEAMS = GenerationConfig(max_tokens=8, num_beams=4, early_stopping="never", logit_bias={5: -1.0})
TO_WORKER: list[ToWorker] = [
    Generate(1, GenerationConfig(max_tokens=8), text="what is \u00e9 \U0001f642", stop=["."]),
    Generate(2, BEAMS, ids=[5, 1], stream=True),
    Generate(7, BEAMS, text="a ||| b", cut=Cut(0, 6, "left", [6])),
    Score(3, [5, 1], [0]),
    Tokenize(4, ""),
    Judge(7, "a b", "yes", 6, Cut(2, 3, "left"), turn=3),
    Tokenize(6, ids=[1]),
    Cancel(5),
]
FROM_WORKER: list[FromWorker] = [
    Ready(MODEL, 2, 16, 1),
    Unloadable("no"),
    Progress(1, 0, "a", [Token(5, "a", -0.5, [(5, "a", -0.5)])]),
    Generated(1, [Output("a", [5], -0.5, 2, -0.25, "stop")], 3, Timings(0.1, 1.0, 2.0), 1),
    Judged(7, 0.5, -0.5, 3, Timings(0.1, 1.0, 2.0), 4),
    Scored(1, b"\x00\x00\x80?"),
    Tokenized(2, [1], [""]),
    Refused(3, "too long", too_long=True),
    Failed(4, "oh"),
]


@pytest.mark.parametrize("message", TO_WORKER, ids=lambda m: type(m).__name__)
def test_to_worker_round_trip(message: ToWorker) -> None:
    """Unpacking returns the packed message, and the header has the body's length."""
    frame = pack(message)
    assert HEADER.unpack(frame[:4])[0] == len(frame) - 4
    assert unpack_to_worker(frame[4:]) == message


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda m: type(m).__name__)
def test_from_worker_round_trip(message: FromWorker) -> None:
    """Unpacking returns the packed message."""
    assert unpack_from_worker(pack(message)[4:]) == message
