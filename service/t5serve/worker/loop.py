"""The worker's loop: takes messages between steps, advances the jobs, sends the outcomes."""

from __future__ import annotations

import select
import socket
import time

import numpy as np

from t5serve.wire import (
    HEADER,
    Cancel,
    Cancelled,
    Failed,
    FromWorker,
    Generate,
    JobMessage,
    Outcome,
    Refused,
    Score,
    Scored,
    Tokenize,
    Tokenized,
    pack,
    unpack_to_worker,
)
from t5serve.worker.backend import BackendError
from t5serve.worker.job import Generation, InputRefused, check_ids, check_input, tokenize
from t5serve.worker.model import Model


class Connection:
    """The worker's end of the socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._poll = select.poll()  # select() ends at file descriptor 1023
        self._poll.register(sock, select.POLLIN)

    def waiting(self) -> bool:
        """Whether a message is there to read."""
        return bool(self._poll.poll(0))

    def receive(self) -> bytes | None:
        """The next frame's body; waits for it. None when the service is gone."""
        header = self._read(HEADER.size)
        return None if header is None else self._read(HEADER.unpack(header)[0])

    def send(self, message: FromWorker) -> None:
        self._socket.sendall(pack(message))

    def _read(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                return None
            data += part
        return bytes(data)


class Loop:
    """Decodes up to the backend's capacity of jobs together, a step at a time."""

    def __init__(self, connection: Connection, model: Model) -> None:
        self._connection = connection
        self._model = model
        self._waiting: dict[int, JobMessage] = {}
        self._active: dict[int, Generation] = {}
        self._free_rows = set(range(model.backend.capacity))

    def run(self) -> None:
        """Returns when the service closes its end."""
        while self._read():
            # One encode between two steps: those that decode already wait for no more than that.
            if self._waiting:
                job = next(iter(self._waiting))
                self._take(self._waiting.pop(job))
            if self._active:
                self._advance()

    def _read(self) -> bool:
        """Takes in the messages that are there, waiting for one if there is nothing to do."""
        while not (self._active or self._waiting) or self._connection.waiting():
            body = self._connection.receive()
            if body is None:
                return False
            message = unpack_to_worker(body)
            if isinstance(message, Cancel):
                self._cancel(message.job)
            else:
                self._waiting[message.job] = message
        return True

    def _cancel(self, job: int) -> None:
        if self._waiting.pop(job, None) is None and job in self._active:
            self._finish(job)
        self._connection.send(Cancelled(job))

    def _take(self, message: JobMessage) -> None:
        try:
            self._start(message)
        except InputRefused as refusal:
            self._connection.send(Refused(message.job, str(refusal), refusal.too_long))
        except BackendError as error:
            self._connection.send(Failed(message.job, str(error)))

    def _start(self, message: JobMessage) -> None:
        if isinstance(message, Tokenize):
            ids = tokenize(message.text, self._model)
            self._connection.send(Tokenized(message.job, ids))
            return
        if not self._free_rows:
            raise BackendError("the service sent more jobs than this worker takes")
        if isinstance(message, Score):
            self._connection.send(self._score(message, min(self._free_rows)))
            return
        row = min(self._free_rows)  # a step costs what the highest row makes it cost
        self._free_rows.remove(row)
        try:
            self._active[message.job] = Generation(message, self._model, row)
        except (InputRefused, BackendError):
            self._free_rows.add(row)
            raise

    def _score(self, message: Score, row: int) -> Scored:
        backend = self._model.backend
        check_input(message.encoder_ids, self._model)
        check_ids(message.decoder_ids, self._model)
        if not 1 <= len(message.decoder_ids) <= backend.max_tokens:
            raise InputRefused(f"expected 1 to {backend.max_tokens} decoder inputs")
        backend.encode(row, message.encoder_ids)
        logits = [backend.step([row], [token]).logits(0).copy() for token in message.decoder_ids]
        backend.release(row)
        return Scored(message.job, np.stack(logits).astype("<f4").tobytes())

    def _advance(self) -> None:
        for job, outcome in advance(self._model, list(self._active.values())):
            self._finish(job)
            self._connection.send(outcome)

    def _finish(self, job: int) -> None:
        generation = self._active.pop(job)
        generation.close()
        self._free_rows.add(generation.row)


def advance(model: Model, generations: list[Generation]) -> list[tuple[int, Outcome]]:
    """One step of all generations; of those that ended by it, the job and its outcome."""
    started = time.perf_counter()
    try:
        step = model.backend.step([g.row for g in generations], [g.next for g in generations])
    except BackendError as error:
        return [(g.request.job, Failed(g.request.job, str(error))) for g in generations]
    seconds = time.perf_counter() - started
    outcomes = [(g.request.job, g.accept(step, i, seconds)) for i, g in enumerate(generations)]
    return [(job, outcome) for job, outcome in outcomes if outcome is not None]


def warm_up(model: Model) -> None:
    """One encode and a few steps for real, so that the first request finds everything in place."""
    ids = model.vocabulary.encode("warm up")[-model.backend.max_input_tokens :]
    generation = Generation(Generate(job=0, max_tokens=2, ids=ids), model, 0)
    while not (outcomes := advance(model, [generation])):
        pass
    generation.close()
    if isinstance(outcomes[0][1], Failed):
        raise BackendError(outcomes[0][1].message)
