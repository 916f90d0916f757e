"""The worker's loop: takes messages between steps, advances the jobs, sends the outcomes."""

from __future__ import annotations

import select
import socket

import numpy as np

from t5serve.wire import (
    HEADER,
    Cancel,
    Failed,
    FromWorker,
    Generate,
    JobMessage,
    Refused,
    Score,
    Scored,
    Tokenize,
    Tokenized,
    pack,
    unpack_to_worker,
)
from t5serve.worker.backend import BackendError
from t5serve.worker.job import Generation, InputRefused, check_ids, check_input
from t5serve.worker.model import Model


class Connection:
    """The worker's end of the socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def waiting(self) -> bool:
        """Whether a message is there to read."""
        return bool(select.select([self._socket], [], [], 0)[0])

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
    """Decodes up to the backend's capacity of jobs, one step each in turn."""

    def __init__(self, connection: Connection, model: Model) -> None:
        self._connection = connection
        self._model = model
        self._active: dict[int, Generation] = {}
        self._free_rows = list(range(model.backend.capacity))

    def run(self) -> None:
        """Returns when the service closes its end."""
        while True:
            while not self._active or self._connection.waiting():
                body = self._connection.receive()
                if body is None:
                    return
                self._take(body)
            for generation in list(self._active.values()):
                self._advance(generation)

    def _take(self, body: bytes) -> None:
        message = unpack_to_worker(body)
        if isinstance(message, Cancel):
            if message.job in self._active:
                self._finish(message.job)
            return
        try:
            self._start(message)
        except InputRefused as refusal:
            self._connection.send(Refused(message.job, str(refusal), refusal.too_long))
        except BackendError as error:
            self._connection.send(Failed(message.job, str(error)))

    def _start(self, message: JobMessage) -> None:
        if isinstance(message, Tokenize):
            ids = self._model.vocabulary.encode(message.text)
            self._connection.send(Tokenized(message.job, ids))
            return
        if not self._free_rows:
            raise BackendError("the service sent more jobs than this worker takes")
        if isinstance(message, Score):
            self._connection.send(self._score(message, self._free_rows[-1]))
            return
        row = self._free_rows.pop()
        try:
            self._active[message.job] = Generation(message, self._model, row)
        except (InputRefused, BackendError):
            self._free_rows.append(row)
            raise

    def _score(self, message: Score, row: int) -> Scored:
        backend = self._model.backend
        check_input(message.encoder_ids, self._model)
        check_ids(message.decoder_ids, self._model)
        if not 1 <= len(message.decoder_ids) <= backend.max_tokens:
            raise InputRefused(f"expected 1 to {backend.max_tokens} decoder inputs")
        backend.encode(row, message.encoder_ids)
        logits = [backend.step([row], [token])[0].copy() for token in message.decoder_ids]
        backend.release(row)
        return Scored(message.job, np.stack(logits).astype("<f4").tobytes())

    def _advance(self, generation: Generation) -> None:
        job = generation.request.job
        try:
            outcome = generation.advance()
        except BackendError as error:
            self._finish(job)
            self._connection.send(Failed(job, str(error)))
            return
        if outcome is not None:
            self._finish(job)
            self._connection.send(outcome)

    def _finish(self, job: int) -> None:
        generation = self._active.pop(job)
        generation.close()
        self._free_rows.append(generation.row)


def warm_up(model: Model) -> None:
    """One encode and a few steps for real, so that the first request finds everything in place."""
    request = Generate(job=0, max_tokens=2, text="warm up")
    generation = Generation(request, model, 0)
    while generation.advance() is None:
        pass
    generation.close()
