"""The worker's loop: receives messages between steps, runs the steps, sends the outcomes."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence

import numpy as np

from t5engine.backend import F32, Backend, BackendError, is_poisoned
from t5engine.decoding.parameters import GenerationConfig
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

    def has_message(self, timeout: float = 0.0) -> bool:
        """Whether a message can be read now, or within `timeout` seconds."""
        return bool(self._poll.poll(1000 * timeout))

    def receive(self) -> bytes | None:
        """Waits for the next frame. Returns its body, or None when the service has gone."""
        header = self._read(HEADER.size)
        return None if header is None else self._read(HEADER.unpack(header)[0])

    def send(self, message: FromWorker) -> None:
        """Sends a message to the service."""
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
    """Decodes the sequences of all jobs together, one step at a time.

    Args:
        connection: the connection to the service.
        model: the loaded model.
        window: seconds that an idle worker waits for further jobs before it starts one, if the
            previous jobs were decoded in a batch.
        drafts: tokens to draft for a sequence that is decoded alone.
    """

    def __init__(
        self, connection: Connection, model: Model, *, window: float = 0.0, drafts: int = 0
    ) -> None:
        self._connection = connection
        self._drafts = drafts
        self._model = model
        self._window = window
        self._had_batch = False
        self._pending: dict[int, JobMessage] = {}
        self._active: dict[int, Generation] = {}

    def run(self) -> None:
        """Serves the connection until the service closes it."""
        while self._receive_messages():
            # At most one encode between two steps, so that running jobs wait no longer than that.
            if self._pending:
                job = next(iter(self._pending))
                self._start(self._pending.pop(job))
            if self._active:
                self._run_step()

    def _receive_messages(self) -> bool:
        """Receives all messages that have arrived. Waits for one if there is nothing to do.

        Returns:
            Whether the service is still connected.
        """
        while not (self._active or self._pending) or self._connection.has_message():
            idle = not (self._active or self._pending)
            body = self._connection.receive()
            if body is None:
                return False
            message = unpack_to_worker(body)
            if isinstance(message, Cancel):
                self._cancel(message.job)
            else:
                self._pending[message.job] = message
                if idle and self._had_batch and self._window:
                    self._connection.has_message(self._window)
                if idle:
                    self._had_batch = False
        if len(self._active) + len(self._pending) > 1:
            self._had_batch = True
        return True

    def _cancel(self, job: int) -> None:
        if self._pending.pop(job, None) is None and job in self._active:
            self._release_job(job)
        self._connection.send(Cancelled(job))

    def _start(self, message: JobMessage) -> None:
        """Starts a job, and reports a refusal or a failure to the service."""
        try:
            self._handle(message)
        except InputRefused as refusal:
            self._connection.send(Refused(message.job, str(refusal), refusal.too_long))
        except BackendError as error:
            self._connection.send(Failed(message.job, str(error)))

    def _handle(self, message: JobMessage) -> None:
        """Answers a tokenize or score message, or makes a generation active."""
        if isinstance(message, Tokenize):
            self._connection.send(self._tokenize(message))
            return
        backend = self._model.backend
        width = message.config.width if isinstance(message, Generate) else 1
        active_width = sum(generation.width for generation in self._active.values())
        has_room = active_width + width <= backend.rows and len(self._active) < backend.inputs
        if self._active and not has_room:
            raise BackendError("the service sent more jobs than this worker takes")
        used = {row for generation in self._active.values() for row in generation.rows}
        row = min(set(range(backend.rows)) - used)
        if isinstance(message, Score):
            self._connection.send(self._score(message, row))
        else:
            self._active[message.job] = Generation(message, self._model, row)

    def _tokenize(self, message: Tokenize) -> Tokenized:
        ids = message.ids or []
        if message.text is not None:
            ids = tokenize(message.text, self._model)
        check_input(ids, self._model)
        texts = self._model.vocabulary.decode_each(ids, shows_special=True)
        return Tokenized(message.job, ids, texts)

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

    def _run_step(self) -> None:
        for message in decode_step(self._model, list(self._active.values()), self._drafts):
            self._connection.send(message)
        for job in [job for job, generation in self._active.items() if not generation.rows]:
            del self._active[job]

    def _release_job(self, job: int) -> None:
        for row in self._active.pop(job).rows:
            self._model.backend.release(row)


def decode_step(
    model: Model, generations: Sequence[Generation], drafts: int = 0
) -> list[FromWorker]:
    """Runs one decoding step of all generations. Those that are over have no rows afterwards.

    Args:
        model: the model of the generations.
        generations: the generations whose rows are open; no other rows are.
        drafts: tokens to draft for a sequence that is decoded alone. A step over a few tokens of
            one row costs little more than over one token: the weights are read once.

    Returns:
        The messages for the service.
    """
    rows = [row for generation in generations for row in generation.rows]
    draft = generations[0].draft(drafts) if len(generations) == 1 else []
    tokens = [token for generation in generations for token in generation.tokens]
    started = time.perf_counter()
    try:
        logits = model.backend.extend(rows, [[token, *draft] for token in tokens])
        if draft and is_poisoned(logits[0]):
            # A drafted token may overflow, and its NaN reach the others: repeat without the draft.
            draft = []
            model.backend.rewind(rows[0], generations[0].decoded)
            logits = model.backend.extend(rows, [[token] for token in tokens])
    except BackendError as error:
        _continue_branches(model.backend, generations, [])
        return [Failed(generation.request.job, str(error)) for generation in generations]
    seconds = time.perf_counter() - started
    messages: list[FromWorker] = []
    running: list[tuple[Generation, Branch]] = []
    start = 0
    for generation in generations:
        end = start + len(generation.rows)
        new_messages, branches = _choose_tokens(
            generation, logits[start:end], draft, seconds, len(rows)
        )
        start = end
        messages += new_messages
        running += [(generation, branch) for branch in branches]
    if draft and running:
        model.backend.rewind(rows[0], generations[0].decoded)
    _continue_branches(model.backend, generations, running)
    return messages


def _choose_tokens(
    generation: Generation,
    logits: Sequence[F32],
    draft: Sequence[int],
    seconds: float,
    batch: int,
) -> tuple[list[FromWorker], list[Branch]]:
    """Has a generation choose its next token, and more tokens as long as it chooses the draft's.

    Args:
        generation: the generation.
        logits: (1 + drafted tokens, n_vocab) per row of the generation.
        draft: the tokens that were fed after the next token.
        seconds: duration of the step.
        batch: sequences in the step.

    Returns:
        The messages for the service, and the sequences that continue.
    """
    job = generation.request.job
    if any(map(is_poisoned, logits)):
        return [Failed(job, "the model's numbers overflow on this input")], []
    messages: list[FromWorker] = []
    for position in range(1 + len(draft)):
        branches = generation.choose_tokens([row[position] for row in logits])
        messages += generation.collect_progress()
        if not branches or draft[position : position + 1] != [branches[0].token]:
            break
    generation.record_step(seconds, batch, drafted=len(draft), kept=position)
    if not branches:
        messages.append(generation.build_outcome())
    return messages, branches


def _continue_branches(
    backend: Backend,
    generations: Sequence[Generation],
    running: Sequence[tuple[Generation, Branch]],
) -> None:
    """Moves every sequence that continues to a row, and releases the other rows."""
    used = {row for generation in generations for row in generation.rows}
    parents = [generation.rows[branch.parent] for generation, branch in running]
    rows = assign_rows(parents)
    backend.reorder(rows, parents)
    for row in used - set(rows):
        backend.release(row)
    for generation in generations:
        generation.rows, generation.tokens = [], []
    for row, (generation, branch) in zip(rows, running, strict=True):
        generation.rows.append(row)
        generation.tokens.append(branch.token)


def warm_up(model: Model, drafts: int = 0) -> None:
    """Runs an encode and a few steps, so that the first request pays for no initialisation."""
    backend = model.backend
    ids = model.vocabulary.encode("warm up")[-backend.max_input_tokens :]
    if 0 < drafts < backend.max_tokens:
        backend.encode(0, ids)
        backend.extend([0], [[model.start_token] * (1 + drafts)])
    request = Generate(job=0, config=GenerationConfig(max_tokens=2), ids=ids)
    generation = Generation(request, model, 0)
    while generation.rows:
        for message in decode_step(model, [generation]):
            if isinstance(message, Failed):
                raise BackendError(message.message)
