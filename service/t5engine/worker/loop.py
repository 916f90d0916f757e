"""The worker's loop: receives messages between steps, runs the steps, sends the outcomes."""

from __future__ import annotations

import time

import numpy as np

from t5engine.backend import BackendError
from t5engine.frames import unpack_to_worker
from t5engine.messages import (
    JUDGED_TOGETHER,
    PULSE_SECONDS,
    Cancel,
    Cancelled,
    Failed,
    Generate,
    JobMessage,
    Judge,
    Pulse,
    Refused,
    Score,
    Scored,
    Tokenize,
    Tokenized,
)
from t5engine.worker.connection import Connection
from t5engine.worker.fairness import Fairness
from t5engine.worker.job import Generation, InputRefused, check_ids, check_input, tokenize
from t5engine.worker.judgement import Judgement, judge
from t5engine.worker.meter import CostMeter
from t5engine.worker.model import Model
from t5engine.worker.step import decode_step, run_greedily


class Loop:
    """Decodes the sequences of all jobs together, one step at a time.

    Args:
        connection: the connection to the service.
        model: the loaded model.
        window: seconds that an idle worker waits for further jobs before it starts one, if the
            previous jobs were decoded in a batch.
        drafts: tokens to draft for a sequence that is decoded alone.
        meter: has the costs of this model so far.
    """

    def __init__(
        self,
        connection: Connection,
        model: Model,
        *,
        window: float = 0.0,
        drafts: int = 0,
        meter: CostMeter | None = None,
    ) -> None:
        self._connection = connection
        self._drafts = drafts
        self._model = model
        self._window = window
        self._had_batch = False
        self._pending: dict[int, JobMessage] = {}
        self._active: dict[int, Generation] = {}
        self._judgements: dict[int, Judgement] = {}
        """Encoded inputs that wait for their step."""
        self._starts = 0
        self._started: dict[int, int] = {}
        """Sequence number of the latest started job, by turn, for turns with pending jobs."""
        self._meter = meter or CostMeter()
        self._fairness = Fairness()
        self._last_pulse = time.monotonic()

    def run(self) -> None:
        """Serves the connection until the service closes it."""
        while self._receive_messages():
            # At most one encode between two steps: running jobs wait for one encode at most.
            if self._pending:
                self._start_next()
            if self._judgements:
                self._judge_if_due()
            if self._active:
                self._run_step()
            self._send_pulse_if_due()

    def _start_next(self) -> None:
        """Starts a job of the request whose last start is the longest ago.

        A long encode may have to wait. If there is no other work, this method waits for a message.
        """
        turns = {job: getattr(message, "turn", 0) for job, message in self._pending.items()}
        self._fairness.record_turns(turns.values())
        self._started = {
            turn: number for turn, number in self._started.items() if turn in turns.values()
        }
        delays = []
        for job in sorted(turns, key=lambda job: self._started.get(turns[job], 0)):
            tokens = _estimate_tokens(self._pending[job])
            estimate = self._meter.encode_seconds(min(tokens, self._model.backend.max_input_tokens))
            delay = self._fairness.seconds_to_encode(
                turns[job],
                estimate,
                are_others_stepping=bool(self._active),
                is_bulk=isinstance(self._pending[job], Judge),
            )
            if not delay:
                self._starts += 1
                self._started[turns[job]] = self._starts
                self._start(self._pending.pop(job))
                return
            delays.append(delay)
        if not self._active:
            self._connection.has_message(min(delays))

    def _receive_messages(self) -> bool:
        """Receives all messages that have arrived. Waits for one if there is nothing to do.

        Returns:
            Whether the service is still connected.
        """
        while not self._is_busy or self._connection.has_message():
            idle = not self._is_busy
            while self._connection.is_silent(PULSE_SECONDS):
                self._send_pulse()
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

    @property
    def _is_busy(self) -> bool:
        return bool(self._active or self._judgements or self._pending)

    def _send_pulse_if_due(self) -> None:
        if time.monotonic() - self._last_pulse > PULSE_SECONDS:
            self._send_pulse()

    def _send_pulse(self) -> None:
        self._connection.send(Pulse(self._meter.costs))
        self._last_pulse = time.monotonic()

    def _cancel(self, job: int) -> None:
        if self._pending.pop(job, None) is None:
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
        self._check_room(message.config.width if isinstance(message, Generate) else 1)
        if isinstance(message, Score):
            self._connection.send(self._score(message, self._find_free_row()))
            return
        started = time.perf_counter()
        job: Generation | Judgement
        if isinstance(message, Judge):
            job = Judgement(message, self._model, self._find_free_row())
            self._judgements[message.job] = job
        else:
            job = Generation(message, self._model, self._clear_low_row())
            self._active[message.job] = job
        seconds = time.perf_counter() - started
        self._meter.record_encode(job.input_length, seconds)
        self._fairness.record_encode(message.turn, seconds)

    def _check_room(self, width: int) -> None:
        """Raises BackendError if there is no room for another job of so many rows."""
        backend = self._model.backend
        count = len(self._active) + len(self._judgements)
        total = sum(job.width for job in self._active.values()) + len(self._judgements) + width
        if count and (total > backend.rows or count >= backend.inputs):
            raise BackendError("the service sent more jobs than this worker takes")

    def _find_free_row(self) -> int:
        jobs: list[Generation | Judgement] = [*self._active.values(), *self._judgements.values()]
        used = {row for job in jobs for row in job.rows}
        return min(set(range(self._model.backend.rows)) - used)

    def _clear_low_row(self) -> int:
        """Returns the lowest row that no generation uses; moves a judgement away from it.

        The highest row of a step determines its cost, and a generation has many steps.
        """
        used = {row for generation in self._active.values() for row in generation.rows}
        low = min(set(range(self._model.backend.rows)) - used)
        for judgement in self._judgements.values():
            if judgement.rows == [low]:
                judgement.rows = [self._find_free_row()]
                self._model.backend.reorder(judgement.rows, [low])
                self._model.backend.release(low)
        return low

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
        logits = []
        for token in message.decoder_ids:
            logits.append(backend.step([row], [token])[0].copy())
            self._send_pulse_if_due()
        backend.release(row)
        return Scored(message.job, np.stack(logits).astype("<f4").tobytes())

    def _judge_if_due(self) -> None:
        """Runs the step of the judgements if there are enough, or if no more are pending."""
        judgements = list(self._judgements.values())
        has_more = any(isinstance(message, Judge) for message in self._pending.values())
        if has_more and len(judgements) < JUDGED_TOGETHER:
            return
        turn = judgements[0].request.turn
        self._fairness.record_turns([turn])
        estimate = self._meter.step_seconds(len(judgements))
        if self._active and self._fairness.seconds_to_encode(turn, estimate, is_bulk=True):
            return
        started = time.perf_counter()
        messages = judge(self._model, judgements)
        seconds = time.perf_counter() - started
        self._judgements.clear()
        for message in messages:
            self._connection.send(message)
        self._meter.record_step(len(judgements), seconds)
        self._fairness.record_encode(turn, seconds)

    def _run_step(self) -> None:
        generations, others = self._fairness.choose(list(self._active.values()))
        rows = sum(len(generation.rows) for generation in generations)
        lone = generations[0] if len(generations) == 1 and generations[0].width == 1 else None
        decoded = lone.decoded if lone else 0
        started = time.perf_counter()
        judgements = list(self._judgements.values())
        messages = None
        if lone and not (others or judgements or self._pending):
            descriptor = self._connection.fileno()
            messages = run_greedily(self._model, lone, self._drafts, descriptor)
        if messages is None:
            messages = decode_step(self._model, generations, self._drafts, others, judgements)
        seconds = time.perf_counter() - started
        for message in messages:
            self._connection.send(message)
        # A lone sequence may decode several tokens at a time.
        tokens = max(1, lone.decoded - decoded) if lone else 1
        self._fairness.record_step(rows, seconds / tokens, is_shared=bool(others))
        self._fairness.record_decoding(generations)
        self._meter.record_step(rows, (time.perf_counter() - started) / tokens, tokens)
        for job in [job for job, generation in self._active.items() if not generation.rows]:
            del self._active[job]

    def _release_job(self, job: int) -> None:
        released = self._active.pop(job, None) or self._judgements.pop(job, None)
        for row in released.rows if released is not None else ():
            self._model.backend.release(row)


def _estimate_tokens(message: JobMessage) -> int:
    """Estimates the tokens of a job's input, before it is tokenised."""
    if isinstance(message, Judge):
        return len(message.text) // 4
    if not isinstance(message, Generate):
        return 1
    return len(message.ids or ()) if message.text is None else len(message.text) // 4
