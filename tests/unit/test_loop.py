"""The worker's loop, with a fake backend."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from support.fakes import MODEL
from support.looping import FakeBackend, FakeVocabulary, Service
from t5engine.decoding.parameters import GenerationConfig
from t5engine.frames import HEADER, pack
from t5engine.messages import (
    Cancel,
    Cancelled,
    Generate,
    Generated,
    Pulse,
    Refused,
    Score,
    Scored,
)
from t5engine.worker import loop
from t5engine.worker.connection import Connection
from t5engine.worker.loop import Loop
from t5engine.worker.model import Model

LONG = GenerationConfig(max_tokens=100)
LONGER = GenerationConfig(max_tokens=129)
WIDE = GenerationConfig(max_tokens=100, num_beams=5)
BIASED = GenerationConfig(max_tokens=100, logit_bias={10: 1.0})


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def service(backend: FakeBackend) -> Iterator[Service]:
    running = Service(backend)
    yield running
    running.close()


def job(number: int, tokens: int) -> Generate:
    return Generate(number, LONG, ids=[3] * tokens)


def test_one_job_uses_the_lowest_row(service: Service, backend: FakeBackend) -> None:
    """The highest row determines the cost of a step, so a single job gets row 0."""
    for number in range(3):
        service.send(job(number, 1))
        assert isinstance(service.receive(), Generated)
    assert backend.calls == ["encode 0", "step [0]"] * 3


def test_one_encode_between_two_steps(service: Service, backend: FakeBackend) -> None:
    """Jobs that arrive together join one by one; no step waits for more than one encode."""
    service.send(job(0, 4), job(1, 4), job(2, 4))
    for _ in range(3):
        assert isinstance(service.receive(), Generated)
    assert backend.calls[:6] == [
        *("encode 0", "step [0]"),
        *("encode 1", "step [0, 1]"),
        *("encode 2", "step [0, 1, 2]"),
    ]


def test_a_cancelled_job_leaves_at_the_next_step(service: Service, backend: FakeBackend) -> None:
    """The job's row is freed, and the service receives Cancelled."""
    backend.go_on.clear()
    service.send(job(0, 8))
    service.send(Cancel(0), job(1, 1))
    backend.go_on.set()
    assert service.receive() == Cancelled(0)
    outcome = service.receive()
    assert isinstance(outcome, Generated)
    assert outcome.job == 1
    assert backend.calls[-1] == "step [0]"


def test_a_cancelled_pending_job_is_never_encoded(service: Service, backend: FakeBackend) -> None:
    """A job cancelled before it starts is neither tokenised nor encoded."""
    service.send(job(0, 2), Cancel(0), job(1, 1))
    assert service.receive() == Cancelled(0)
    assert isinstance(service.receive(), Generated)
    assert backend.calls == ["encode 0", "step [0]"]


def test_cancelling_a_finished_job_is_answered(service: Service) -> None:
    """The service waits for Cancelled before it reuses the job's capacity."""
    service.send(job(0, 1))
    assert isinstance(service.receive(), Generated)
    service.send(Cancel(0))
    assert service.receive() == Cancelled(0)


@pytest.mark.parametrize(
    ("message", "too_long"),
    [
        (job(0, 9), True),
        (Generate(0, LONG, text="nine char"), True),
        (Generate(0, LONG, ids=[]), False),
        (Generate(0, LONG, ids=[10]), False),
        (Generate(0, LONG, ids=[-1]), False),
        (Generate(0, LONGER, ids=[3]), False),
        (Generate(0, WIDE, ids=[3]), False),
        (Generate(0, BIASED, ids=[3]), False),
    ],
)
def test_invalid_jobs_are_refused(
    service: Service, backend: FakeBackend, message: Generate, *, too_long: bool
) -> None:
    """A job is refused before it reaches the backend, and the loop continues."""
    service.send(message, job(1, 1))
    refusal = service.receive()
    assert isinstance(refusal, Refused)
    assert refusal.too_long == too_long
    assert isinstance(service.receive(), Generated)
    assert backend.calls == ["encode 0", "step [0]"]


class RecordingConnection(Connection):
    """Records the timeouts of the loop's waits for further messages."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.waits: list[float] = []

    def has_message(self, timeout: float = 0.0) -> bool:
        if timeout:
            self.waits.append(timeout)
        return super().has_message(timeout)


def test_the_window_does_not_delay_single_jobs(backend: FakeBackend) -> None:
    """An idle worker waits for further jobs only if the previous jobs were decoded in a batch."""
    service_socket, worker_socket = socket.socketpair()
    service_socket.settimeout(10)
    connection = RecordingConnection(worker_socket)
    model = Model(backend, FakeVocabulary(), 0, MODEL)  # type: ignore[arg-type]
    thread = threading.Thread(target=Loop(connection, model, window=0.01).run)
    thread.start()

    def ask(*jobs: Generate) -> None:
        service_socket.sendall(b"".join(map(pack, jobs)))
        for _ in jobs:
            (size,) = HEADER.unpack(service_socket.recv(4, socket.MSG_WAITALL))
            service_socket.recv(size, socket.MSG_WAITALL)

    for number in range(3):
        ask(job(number, 2))
    assert connection.waits == []
    ask(job(4, 2), job(5, 2))
    assert connection.waits == []
    ask(job(6, 2))  # the previous jobs were a batch
    assert connection.waits == [0.01]
    ask(job(7, 2))
    assert connection.waits == [0.01]
    service_socket.close()
    thread.join(10)
    worker_socket.close()


def test_requests_take_turns(service: Service, backend: FakeBackend) -> None:
    """A job does not wait for all encodes of another request."""
    backend.go_on.clear()
    jobs = [(0, 1), (1, 1), (2, 1), (3, 2), (4, 1)]
    service.send(*(Generate(number, LONG, ids=[3], turn=turn) for number, turn in jobs))
    backend.go_on.set()
    outcomes = [service.receive() for _ in jobs]
    order = [outcome.job for outcome in outcomes if isinstance(outcome, Generated)]
    assert order.index(3) < order.index(2)


def test_a_worker_says_that_it_is_alive(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    """A worker that is busy sends pulses between its steps, with what they cost."""
    monkeypatch.setattr(loop, "PULSE_SECONDS", -1.0)  # always due; an idle worker waits for ever
    service.send(Score(1, [3], [0, 4, 5]), job(2, 2))
    messages = [service.receive() for _ in range(8)]
    assert [type(message) for message in messages[:4]] == [Pulse, Pulse, Pulse, Scored]
    pulse = messages[-1]
    assert isinstance(pulse, Pulse)
    assert pulse.costs.encodes
    assert pulse.costs.steps
