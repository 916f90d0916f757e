"""Tunes a teacher on rows: AdamW, cross-entropy of the answers, checkpoints to go on from."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional

from t5train import prompts
from t5train.searches import Row
from t5train.teacher import Teacher

log = logging.getLogger("distil")

POOL = 32  # batches that are drawn and sorted by length at once
OPTIMISER = "optimiser.pt"
IGNORED = -100
LONGEST = 160  # tokens of a prompt with its answer
WIDTHS, PLACES = 8, 64  # to which a batch's sizes are rounded up


@dataclass(frozen=True)
class Plan:
    """How to tune."""

    steps: int
    batch: int = 16
    rate: float = 1e-4
    warmup: int = 50
    save_minutes: float = 4.0
    seed: int = 0


class Example(NamedTuple):
    """Token ids, of which the last `answer` are to be learnt."""

    tokens: list[int]
    answer: int


def share_name(row: Row) -> str:
    """What a row's share goes by: its origin, but all keywords are item, and other tasks too."""
    if row.task != "search":
        return row.task
    return "keywords" if row.origin.endswith("/keywords") else row.origin


def draws(rows: Sequence[Row], shares: Mapping[str, float], rng: random.Random) -> Iterator[Row]:
    """Rows without end; an origin's share is for all of its rows, 1 where none is given."""
    by_origin: dict[str, list[Row]] = {}
    for row in rows:
        by_origin.setdefault(share_name(row), []).append(row)
    weights = [shares.get(origin, 1.0) for origin in by_origin]
    groups = list(by_origin.values())
    while True:
        yield rng.choice(rng.choices(groups, weights)[0])


def batches(
    teacher: Teacher, rows: Iterator[Row], size: int, rng: random.Random
) -> Iterator[list[Example]]:
    """Batches of like length, shuffled."""
    while True:
        pool: list[Example] = []
        while len(pool) < size * POOL:
            candidate = example(teacher, next(rows))
            if len(candidate.tokens) <= LONGEST:
                pool.append(candidate)
        pool.sort(key=lambda item: len(item.tokens))
        parts = [pool[start : start + size] for start in range(0, len(pool), size)]
        rng.shuffle(parts)
        yield from parts


def example(teacher: Teacher, row: Row) -> Example:
    """A row as token ids."""
    answer = teacher.tokens(prompts.answer(row.targets))
    return Example([*teacher.tokens(prompts.prompt(row.task, row.source)), *answer], len(answer))


def loss(teacher: Teacher, batch: Sequence[Example]) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens; the head sees those positions only.

    Sizes are rounded up: the CPU's kernels are made anew for each size that is new.
    """
    width = _rounded(max(len(item.tokens) for item in batch), WIDTHS)
    ids = torch.full((len(batch), width), teacher.end)
    positions: list[int] = []
    labels: list[int] = []
    for row, item in enumerate(batch):
        size = len(item.tokens)
        ids[row, :size] = torch.tensor(item.tokens)
        # The position before a token predicts it.
        positions += range(row * width + size - item.answer - 1, row * width + size - 1)
        labels += item.tokens[size - item.answer :]
    missing = _rounded(len(labels), PLACES) - len(labels)
    chosen = torch.tensor(positions + [0] * missing, device=teacher.device)
    target = torch.tensor(labels + [IGNORED] * missing, device=teacher.device)
    with torch.autocast(teacher.device.type, dtype=torch.bfloat16):
        hidden = teacher.model.model(ids.to(teacher.device), use_cache=False).last_hidden_state
        hidden = hidden.flatten(0, 1)[chosen]
        logits = functional.linear(hidden, teacher.model.get_output_embeddings().weight)
    return functional.cross_entropy(logits.float(), target, ignore_index=IGNORED)


def _rounded(size: int, step: int) -> int:
    return -(-size // step) * step


class Tuning:
    """A loop that goes on from the directory's checkpoint."""

    def __init__(
        self,
        teacher: Teacher,
        plan: Plan,
        directory: Path,
        wait: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Loads what is there.

        Args:
            teacher: changed in place.
            plan: of the whole tuning, also of what is done.
            directory: for the checkpoints.
            wait: called before each step; returns for how many seconds it waited.
        """
        self._teacher, self._plan, self._directory, self._wait = teacher, plan, directory, wait
        state = teacher.load_weights(directory) or {"step": 0, "seconds": 0.0}
        self.step: int = state["step"]
        self.seconds: float = state["seconds"]
        self._optimiser = torch.optim.AdamW(teacher.trainable(), lr=plan.rate, weight_decay=0.01)
        moments = directory / OPTIMISER
        if self.step and moments.is_file():
            self._optimiser.load_state_dict(torch.load(moments, weights_only=True))
            log.info("goes on at step %d, after %.0f minutes", self.step, self.seconds / 60)

    def run(self, rows: Sequence[Row], shares: Mapping[str, float]) -> None:
        """Tunes until the plan's last step; examples come in a new order after each start."""
        rng = random.Random(self._plan.seed + self.step)  # noqa: S311 - repeatable on purpose
        source = batches(self._teacher, draws(rows, shares, rng), self._plan.batch, rng)
        self._teacher.model.train()
        started = saved = time.monotonic()
        recent: list[float] = []
        while self.step < self._plan.steps:
            started += self._wait()
            recent.append(self._one_step(next(source)))
            self.step += 1
            now = time.monotonic()
            if self.step % 20 == 0:
                mean = sum(recent[-20:]) / len(recent[-20:])
                rate = len(recent) * self._plan.batch / (now - started)
                log.info("step %d  loss %.3f  %.1f pairs/s", self.step, mean, rate)
            if now - saved > 60 * self._plan.save_minutes or self.step == self._plan.steps:
                self._save(self.seconds + now - started)
                saved = now

    def _one_step(self, batch: Sequence[Example]) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = self._plan.rate * self._scale()
        value = loss(self._teacher, batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self._teacher.trainable(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return float(value.detach())

    def _scale(self) -> float:
        """The rate's share: up over the warmup, then a cosine down to a tenth."""
        if self.step < self._plan.warmup:
            return (self.step + 1) / self._plan.warmup
        done = (self.step - self._plan.warmup) / max(1, self._plan.steps - self._plan.warmup)
        return 0.1 + 0.45 * (1 + math.cos(math.pi * done))

    def _save(self, seconds: float) -> None:
        beside = self._directory / f"{OPTIMISER}.new"
        self._directory.mkdir(parents=True, exist_ok=True)
        torch.save(self._optimiser.state_dict(), beside)
        beside.replace(self._directory / OPTIMISER)
        self._teacher.save_weights(self._directory, {"step": self.step, "seconds": seconds})
        log.info("saved at step %d", self.step)
