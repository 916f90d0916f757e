"""The worker's loop: takes messages between steps, advances the jobs, sends the outcomes."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence

import numpy as np

from t5engine.backend import F32, Backend, BackendError, is_poisoned
from t5engine.decoding.config import GenerationConfig
from t5engine.decoding.search import Branch
from t5engine.messages import (
    HEADER,
    Cancel,
    Cancelled,
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
from t5engine.rows import assign_rows
from t5engine.worker.job import Generation, InputRefused, check_ids, check_input, tokenize
from t5engine.worker.model import Model


class Connection:
    """The worker's end of the socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._poll = select.poll()  # select() ends at file descriptor 1023
        self._poll.register(sock, select.POLLIN)

    def waiting(self, seconds: float = 0.0) -> bool:
        """Whether a message is there to read, or comes within so long."""
        return bool(self._poll.poll(1000 * seconds))

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
    """Decodes the sequences of all jobs that are there together, a step at a time.

    Args:
        connection: to the service.
        model: loaded.
        window: seconds that a job waits for company when there is no other, if the jobs
            before it had some.
        drafts: tokens that are drafted for a sequence that is alone.
    """

    def __init__(
        self, connection: Connection, model: Model, *, window: float = 0.0, drafts: int = 0
    ) -> None:
        self._connection = connection
        self._drafts = drafts
        self._model = model
        self._window = window
        self._had_company = False
        self._waiting: dict[int, JobMessage] = {}
        self._active: dict[int, Generation] = {}

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
            idle = not (self._active or self._waiting)
            body = self._connection.receive()
            if body is None:
                return False
            message = unpack_to_worker(body)
            if isinstance(message, Cancel):
                self._cancel(message.job)
            else:
                self._waiting[message.job] = message
                if idle and self._had_company and self._window:
                    self._connection.waiting(self._window)
                if idle:
                    self._had_company = False
        if len(self._active) + len(self._waiting) > 1:
            self._had_company = True
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
            ids = message.ids or []
            if message.text is not None:
                ids = tokenize(message.text, self._model)
            check_input(ids, self._model)
            texts = self._model.vocabulary.texts(ids)
            self._connection.send(Tokenized(message.job, ids, texts))
            return
        backend = self._model.backend
        wanted = message.config.width if isinstance(message, Generate) else 1
        taken = sum(generation.width for generation in self._active.values())
        if self._active and (taken + wanted > backend.rows or len(self._active) == backend.inputs):
            raise BackendError("the service sent more jobs than this worker takes")
        used = {row for generation in self._active.values() for row in generation.rows}
        row = min(set(range(backend.rows)) - used)
        if isinstance(message, Score):
            self._connection.send(self._score(message, row))
        else:
            self._active[message.job] = Generation(message, self._model, row)

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

    def _advance(self) -> None:
        for message in advance(self._model, list(self._active.values()), self._drafts):
            self._connection.send(message)
        for job in [job for job, one in self._active.items() if not one.rows]:
            del self._active[job]

    def _finish(self, job: int) -> None:
        for row in self._active.pop(job).rows:
            self._model.backend.release(row)


def advance(model: Model, generations: Sequence[Generation], drafts: int = 0) -> list[FromWorker]:
    """One step of all generations; what there is to tell of them.

    Those that are over have no rows afterwards.

    Args:
        model: that they are of.
        generations: whose rows are all that is open.
        drafts: tokens to draft for a sequence that is alone. A step over a few tokens of one row
            costs little more than over one: the weights are read once.
    """
    rows = [row for one in generations for row in one.rows]
    draft = generations[0].draft(drafts) if len(generations) == 1 else []
    tokens = [token for one in generations for token in one.tokens]
    started = time.perf_counter()
    try:
        logits = model.backend.extend(rows, [[token, *draft] for token in tokens])
        if draft and is_poisoned(logits[0]):
            # A drafted token may overflow, and its NaN be in the others': without it, then.
            draft = []
            model.backend.rewind(rows[0], generations[0].decoded)
            logits = model.backend.extend(rows, [[token] for token in tokens])
    except BackendError as error:
        _place(model.backend, generations, [])
        return [Failed(one.request.job, str(error)) for one in generations]
    seconds = time.perf_counter() - started
    messages: list[FromWorker] = []
    running: list[tuple[Generation, Branch]] = []
    rest = iter(logits)
    for one in generations:
        own = [next(rest) for _ in one.rows]
        news, branches = _accept(one, own, draft, seconds, len(rows))
        messages += news
        running += [(one, branch) for branch in branches]
    if draft and running:
        model.backend.rewind(rows[0], generations[0].decoded)
    _place(model.backend, generations, running)
    return messages


def _accept(
    one: Generation, logits: Sequence[F32], draft: Sequence[int], seconds: float, batch: int
) -> tuple[list[FromWorker], list[Branch]]:
    """Hands a generation the logits of its next token, and of each drafted one that it chooses.

    Args:
        one: the generation.
        logits: (1 + drafted tokens, n_vocab) of each of its rows.
        draft: what was fed after the next token.
        seconds: that the step took.
        batch: sequences in that step.
    """
    if any(map(is_poisoned, logits)):
        return [Failed(one.request.job, "the model's numbers overflow on this input")], []
    messages: list[FromWorker] = []
    for place in range(1 + len(draft)):
        branches = one.accept([row[place] for row in logits])
        messages += one.progress()
        if not branches or draft[place : place + 1] != [branches[0].token]:
            break
    one.stepped(seconds, batch, drafted=len(draft), kept=place)
    if not branches:
        messages.append(one.outcome())
    return messages, branches


def _place(
    backend: Backend,
    generations: Sequence[Generation],
    running: Sequence[tuple[Generation, Branch]],
) -> None:
    """Gives every sequence that goes on a row, and frees the others."""
    used = {row for one in generations for row in one.rows}
    parents = [one.rows[branch.parent] for one, branch in running]
    rows = assign_rows(parents)
    backend.reorder(rows, parents)
    for row in used - set(rows):
        backend.release(row)
    for one in generations:
        one.rows, one.tokens = [], []
    for row, (one, branch) in zip(rows, running, strict=True):
        one.rows.append(row)
        one.tokens.append(branch.token)


def warm_up(model: Model, drafts: int = 0) -> None:
    """One encode and a few steps for real, so that the first request finds everything in place."""
    backend = model.backend
    ids = model.vocabulary.encode("warm up")[-backend.max_input_tokens :]
    if 0 < drafts < backend.max_tokens:
        backend.encode(0, ids)
        backend.extend([0], [[model.start_token] * (1 + drafts)])
    request = Generate(job=0, config=GenerationConfig(max_tokens=2), ids=ids)
    generation = Generation(request, model, 0)
    while generation.rows:
        for message in advance(model, [generation]):
            if isinstance(message, Failed):
                raise BackendError(message.message)
