"""Messages between the service and its workers."""

from __future__ import annotations

import pytest

from fakes import MODEL
from t5serve.wire import (
    HEADER,
    Cancel,
    Failed,
    FromWorker,
    Generate,
    Ready,
    Refused,
    Score,
    Scored,
    Tokenize,
    Tokenized,
    ToWorker,
    Unloadable,
    pack,
    unpack_from_worker,
    unpack_to_worker,
)

TO_WORKER: list[ToWorker] = [
    Generate(1, 8, text="what is \u00e9 \U0001f642"),
    Generate(2, 8, ids=[5, 1]),
    Score(3, [5, 1], [0]),
    Tokenize(4, ""),
    Cancel(5),
]
FROM_WORKER: list[FromWorker] = [
    Ready(MODEL, 2, 1),
    Unloadable("no"),
    Scored(1, b"\x00\x00\x80?"),
    Tokenized(2, [1]),
    Refused(3, "too long", too_long=True),
    Failed(4, "oh"),
]


@pytest.mark.parametrize("message", TO_WORKER, ids=lambda m: type(m).__name__)
def test_to_worker_round_trip(message: ToWorker) -> None:
    """What is packed is what is read, and the header has the body's length."""
    frame = pack(message)
    assert HEADER.unpack(frame[:4])[0] == len(frame) - 4
    assert unpack_to_worker(frame[4:]) == message


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda m: type(m).__name__)
def test_from_worker_round_trip(message: FromWorker) -> None:
    """Likewise the other way."""
    assert unpack_from_worker(pack(message)[4:]) == message
