"""The training loop: steps, validation, saved states, early stopping."""

from __future__ import annotations

import json
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import T5ForConditionalGeneration

from t5train import threads, training_state
from t5train.averaging import Average, load_weights, replaced_weights
from t5train.batches import Batch, stream
from t5train.loss import compute_loss
from t5train.mixture import Example, Mixture
from t5train.optimiser import ScaledAdam
from t5train.schedule import Schedule

log = logging.getLogger("train")

AVERAGE_EVERY = 4  # steps
ADAPT_EVERY = 32  # steps
LOGGED_STEPS = 100  # whose mean loss is logged
HISTORY = "history.jsonl"
STEPS = 1 << 32  # more than any training has


@dataclass(frozen=True)
class Plan:
    """The settings of a training."""

    early: dict[str, float]  # shares until `turn`
    late: dict[str, float]
    turn: float = 0.3
    batch: int = 96
    rate: float = 2e-2
    smoothing: float = 0.0
    clip: float = 1.0
    bf16: bool = False
    device: str = "cpu"
    save_minutes: float = 4.0
    validate_minutes: float = 6.0
    patience: int = 8  # validations without improvement before the end; 0: no early stopping
    start: str = ""  # the checkpoint to fine-tune; empty: a new model
    seed: int = 0  # another one gives another order of rows after each start
    threads: int = 0  # 0: as many as other load leaves free
    pause_file: Path | None = None
    session_minutes: float = math.inf  # the training stops after these and can go on later
    schedule: Schedule = field(default_factory=Schedule)


class Trainer:
    """Trains a model; its state is saved in a directory, from which a training can resume."""

    def __init__(
        self,
        model: T5ForConditionalGeneration,
        mixture: Mixture,
        valid: Mapping[str, Sequence[Batch]],
        plan: Plan,
        directory: Path,
        rng: random.Random,
        export: Callable[[Trainer], None] = lambda _: None,
    ) -> None:
        self._export = export  # called after each validation
        self._device = torch.device(plan.device)
        self.model, self.plan, self.directory = model.to(self._device), plan, directory
        self._valid, self._mixture, self._rng = valid, mixture, rng
        self.schedule = plan.schedule
        self.average = Average(model)
        self._optimiser = ScaledAdam(model.parameters(), lr=plan.rate)
        self._best_loss, self._num_worse = math.inf, 0
        self._best_weights: dict[str, torch.Tensor] | None = None
        self._recent_losses: list[float] = []
        self._session_end = math.inf

    def run(self, *, quiet: bool = False) -> None:
        """Trains to the end of the schedule, or until validation stops improving."""
        if self.schedule.progress >= 1:
            log.warning("nothing left to train: give more --minutes or --steps, or another --out")
        saved = validated = self.schedule.seconds
        self._session_end = self.schedule.seconds + 60 * self.plan.session_minutes
        batches = self._batches()
        with tqdm(total=1.0, initial=self.schedule.progress, disable=quiet, unit="") as bar:
            while self.schedule.progress < 1 and not self._is_stopped:
                self._wait_for_pause()
                if self.schedule.step % ADAPT_EVERY == 0:
                    threads.adapt(self.plan.threads)
                started = time.monotonic()
                self._recent_losses.append(self._step(next(batches)))
                before = self.schedule.progress
                self.schedule.tick(time.monotonic() - started)
                bar.update(self.schedule.progress - before)
                bar.set_postfix(step=self.schedule.step, loss=f"{self._recent_losses[-1]:.3f}")
                if self.schedule.seconds - validated > 60 * self.plan.validate_minutes:
                    validated = self.schedule.seconds
                    self.validate()
                if self.schedule.seconds - saved > 60 * self.plan.save_minutes:
                    saved = self.schedule.seconds
                    self.save()
        if self._recent_losses:
            self.validate()
        self.save()

    @property
    def weights(self) -> Mapping[str, torch.Tensor]:
        """The trained weights: the average at the best validation, else the last average."""
        best = self._best_weights if self.plan.patience else None
        return best or self.average.weights()

    @property
    def _is_stopped(self) -> bool:
        is_worse = 0 < self.plan.patience <= self._num_worse
        return is_worse or self.schedule.seconds >= self._session_end

    def _batches(self) -> Iterator[Batch]:
        def draw() -> Example:
            is_late = self.schedule.progress >= self.plan.turn
            return self._mixture.draw(self.plan.late if is_late else self.plan.early)

        return stream(draw, self.plan.batch, self._rng)

    def _step(self, batch: Batch) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = self.plan.rate * self.schedule.factor
        self.model.train()
        with self._precision():
            loss, _ = compute_loss(self.model, batch.to(self._device), self.plan.smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        if self.schedule.step % AVERAGE_EVERY == 0:
            self.average.update(self.model)
        return float(loss.detach())

    def _precision(self) -> AbstractContextManager[Any]:
        if not self.plan.bf16:
            return nullcontext()
        autocast: AbstractContextManager[Any] = torch.autocast(
            self._device.type, dtype=torch.bfloat16
        )
        return autocast

    def _wait_for_pause(self) -> None:
        while self.plan.pause_file is not None and self.plan.pause_file.exists():
            time.sleep(0.5)

    @torch.no_grad()
    def validate(self) -> None:
        """Computes the loss of the averaged weights, and appends a line to the history."""
        with replaced_weights(self.model, self.average.weights()):
            self.model.eval()
            by_task = {task: self._mean_loss(batches) for task, batches in self._valid.items()}
        if by_task:
            self._compare_with_best(sum(by_task.values()) / len(by_task))
        line = {
            "step": self.schedule.step,
            "minutes": round(self.schedule.seconds / 60, 2),
            "train": sum(self._recent_losses) / max(len(self._recent_losses), 1),
            **{f"valid {task}": value for task, value in by_task.items()},
        }
        self._recent_losses.clear()
        with (self.directory / HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        log.info("%s", "  ".join(f"{k} {v:.4g}" for k, v in line.items()))
        self._export(self)

    def _compare_with_best(self, loss: float) -> None:
        if loss < self._best_loss:
            self._best_loss, self._num_worse = loss, 0
            if self.plan.patience:
                self._best_weights = _copy(self.average.weights())
        else:
            self._num_worse += 1

    def _mean_loss(self, batches: Sequence[Batch]) -> float:
        total = tokens = 0.0
        for batch in batches:
            with self._precision():
                loss, count = compute_loss(self.model, batch.to(self._device))
            total += float(loss) * count
            tokens += count
        return total / tokens

    def save(self) -> None:
        """Saves the state that `resume` loads."""
        state = {
            "model": dict(self.model.named_parameters()),
            "moments": {
                name: dict(self._optimiser.state[weight])
                for name, weight in self.model.named_parameters()
                if weight in self._optimiser.state
            },
            "average": self.average.state(),
            "step": self.schedule.step,
            "seconds": self.schedule.seconds,
            "best": self._best_loss,
            "worse": self._num_worse,
            "best weights": self._best_weights,
            "start": self.plan.start,
        }
        training_state.save(self.directory, state)
        recent = self._recent_losses[-LOGGED_STEPS:]
        log.info(
            "saved at step %d, %.1f min, loss %.3f, %.0f pairs/s",
            self.schedule.step,
            self.schedule.seconds / 60,
            sum(recent) / max(len(recent), 1),
            self.plan.batch / self.schedule.step_seconds,
        )

    def resume(self) -> None:
        """Continues from the directory's state, if it has one, with examples in a new order.

        Raises:
            ValueError: The state is of another model, or started from another checkpoint.
        """
        state = training_state.load(self.directory)
        if state is None:
            return
        if state["start"] != self.plan.start:
            origin = state["start"] or "a new model"
            raise ValueError(f"{self.directory} has a training of {origin}: choose another --out")
        shapes = {name: weight.shape for name, weight in self.model.named_parameters()}
        if shapes != {name: weight.shape for name, weight in state["model"].items()}:
            raise ValueError(
                f"{self.directory} has a training of another shape: choose another --out"
            )
        load_weights(self.model, state["model"])
        for name, weight in self.model.named_parameters():
            moments = state["moments"].get(name, {})
            self._optimiser.state[weight] = {
                key: value.to(self._device) if isinstance(value, torch.Tensor) else value
                for key, value in moments.items()
            }
        self.average.restore(state["average"])
        self.schedule.step, self.schedule.seconds = state["step"], state["seconds"]
        self._best_loss, self._num_worse = state["best"], state["worse"]
        self._best_weights = state["best weights"]
        self._rng.seed(self.schedule.step + self.plan.seed * STEPS)
        log.info("resumed at step %d, %.1f min", self.schedule.step, self.schedule.seconds / 60)


def _copy(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in weights.items()}
