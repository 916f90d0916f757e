"""The worker's loop with inputs that are judged, beside generations, with a fake backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest

from support.looping import F32, FakeBackend, Service
from t5engine.backend import BackendError
from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Cancel, Cancelled, Cut, Failed, Generate, Generated, Judge, Judged
from t5engine.messages import Refused as RefusedMessage

LONG = GenerationConfig(max_tokens=100)


class JudgingBackend(FakeBackend):
    """Gives the logits that a test sets; fails or overflows at rows that a test names."""

    rows = inputs = 8

    def __init__(self) -> None:
        super().__init__()
        self.overflowing: set[int] = set()
        self.fails = False

    def extend(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[F32]:
        if self.fails:
            self.fails = False
            raise BackendError("no memory")
        logits = super().extend(rows, tokens)
        for row, row_logits in zip(rows, logits, strict=True):
            row_logits[0, 6] = 0.5
            if row in self.overflowing:
                row_logits[:] = np.nan
        return logits


@pytest.fixture
def backend() -> JudgingBackend:
    return JudgingBackend()


@pytest.fixture
def service(backend: JudgingBackend) -> Iterator[Service]:
    running = Service(backend)
    yield running
    running.close()


def judge(number: int, tokens: int = 2, turn: int = 0, cut: Cut | None = None) -> Judge:
    return Judge(number, "x" * tokens, "yes", 6, cut, turn)


def test_a_judgement_has_the_logits_of_both_tokens(
    service: Service, backend: JudgingBackend
) -> None:
    """One step from the start token; the row is free afterwards."""
    service.send(judge(3))
    outcome = service.receive()
    assert isinstance(outcome, Judged)
    assert (outcome.job, outcome.positive_logit, outcome.negative_logit) == (3, 1.0, 0.5)
    assert (outcome.prompt_tokens, outcome.batch) == (2, 1)
    assert backend.calls == ["encode 0", "step [0]"]
    assert backend.remaining == {}


def test_inputs_share_a_step(service: Service, backend: JudgingBackend) -> None:
    """Up to four are encoded, then stepped together; what is left over is stepped as well."""
    backend.go_on.clear()
    service.send(*map(judge, range(6)))
    backend.go_on.set()
    outcomes = [service.receive() for _ in range(6)]
    assert [call for call in backend.calls if call.startswith("step")] in (
        ["step [0, 1, 2, 3]", "step [0, 1]"],
        ["step [0]", "step [0, 1, 2, 3]", "step [0]"],  # the first was alone when it was encoded
    )
    assert sorted(one.job for one in outcomes if isinstance(one, Judged)) == list(range(6))


def test_a_generation_has_a_lower_row_than_what_waits(
    service: Service, backend: JudgingBackend
) -> None:
    """The row that an encoded input waits in is given to a generation, which has many steps."""
    backend.go_on.clear()
    service.send(Generate(0, LONG, ids=[3] * 4, turn=1))  # holds the loop in its first step
    service.send(judge(1, turn=2), judge(2, turn=2), Generate(3, LONG, ids=[3] * 2, turn=3))
    backend.go_on.set()
    outcomes = [service.receive() for _ in range(4)]
    assert {type(outcome) for outcome in outcomes} == {Generated, Judged}
    start = backend.calls.index("reorder [2] from [1]")
    assert backend.calls[start + 1 : start + 3] == ["encode 1", "step [0, 1]"]
    generated = [outcome for outcome in outcomes if isinstance(outcome, Generated)]
    assert [outcome.completion_tokens for outcome in sorted(generated, key=lambda o: o.job)] == [
        3,
        1,
    ]


def test_a_running_generation_is_stepped_between_documents(
    service: Service, backend: JudgingBackend
) -> None:
    """However many documents wait, at most one is encoded between two steps."""
    backend.go_on.clear()
    service.send(Generate(0, LONG, ids=[3] * 5, turn=1))
    service.send(*(judge(number, turn=2) for number in range(1, 7)))
    backend.go_on.set()
    outcomes = [service.receive() for _ in range(7)]
    assert sum(isinstance(outcome, Judged) for outcome in outcomes) == 6
    end = max(index for index, call in enumerate(backend.calls) if call.endswith("[0]"))
    kinds = [call.split()[0] for call in backend.calls[1:end]]
    assert kinds.count("encode") >= 3
    assert ("encode", "encode") not in pairwise(kinds)


def test_a_cancelled_judgement_is_not_stepped(service: Service, backend: JudgingBackend) -> None:
    """The service receives Cancelled, and the others are judged."""
    backend.go_on.clear()
    service.send(Generate(0, LONG, ids=[3] * 3))
    service.send(judge(1), judge(2), Cancel(1))
    backend.go_on.set()
    outcomes = [service.receive() for _ in range(3)]
    assert Cancelled(1) in outcomes
    assert [outcome.job for outcome in outcomes if isinstance(outcome, Judged)] == [2]
    assert not any(isinstance(outcome, Judged) and outcome.job == 1 for outcome in outcomes)


@pytest.mark.parametrize(
    ("message", "reason", "too_long"),
    [
        (judge(0, tokens=9), "9 tokens, at most 8", True),
        (Judge(0, "x" * 12, "yes", 6, Cut(0, 3, "right")), "9 tokens without the text", True),
        (Judge(0, "x", "perhaps", 6), "no token 'perhaps'", False),
        (Judge(0, "x", 5, 10), "token id 10 is outside", False),
        (Judge(0, "", 5, 6), "no tokens", False),
    ],
)
def test_what_can_not_be_judged_is_refused(
    service: Service,
    backend: JudgingBackend,
    message: Judge,
    reason: str,
    too_long: bool,  # noqa: FBT001
) -> None:
    """Before it reaches the backend; the loop continues."""
    service.send(message, judge(1))
    refusal = service.receive()
    assert isinstance(refusal, RefusedMessage)
    assert reason in refusal.message
    assert refusal.too_long is too_long
    assert isinstance(service.receive(), Judged)
    assert backend.calls == ["encode 0", "step [0]"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_cut_part_is_shortened(service: Service, side: str) -> None:
    """As much of it is left as the backend takes."""
    cut = Cut(2, 10, "left" if side == "left" else "right")
    service.send(judge(0, tokens=12, cut=cut))
    outcome = service.receive()
    assert isinstance(outcome, Judged)
    assert outcome.prompt_tokens == 8


def test_an_overflow_fails_only_its_input(service: Service, backend: JudgingBackend) -> None:
    """Others of the same step are judged."""
    backend.go_on.clear()
    backend.overflowing = {1}
    service.send(*map(judge, range(4)))
    backend.go_on.set()
    outcomes = [service.receive() for _ in range(4)]
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert [outcome.message for outcome in failed] == ["the model's numbers overflow on this input"]
    assert sum(isinstance(outcome, Judged) for outcome in outcomes) == 3


def test_a_failed_step_fails_its_inputs(service: Service, backend: JudgingBackend) -> None:
    """The loop goes on."""
    backend.fails = True
    service.send(judge(0))
    assert service.receive() == Failed(0, "no memory")
    service.send(judge(1))
    assert isinstance(service.receive(), Judged)
