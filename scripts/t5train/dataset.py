"""Collects held-out pairs, training pairs and texts of all sets, and counts them."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from t5train import pairs
from t5train.pairs import Pair
from t5train.words import normal

VALID_PER_TASK = 400
NOT_FOR_VALIDATION = {"quora-test", "mqr", "clean", "clean-questions"}


class Dataset:
    """Takes held-out pairs first. Later pairs and texts must not share a text with them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._held_out: defaultdict[str, list[Pair]] = defaultdict(list)
        self._held_out_texts: set[str] = set()
        self._drawn: dict[str, bool] = {}
        self._train: dict[Pair, None] = {}
        self._texts: dict[str, None] = {}
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def draw(self, query: str, share: float) -> bool:
        """Draws whether a query is held out; returns the same result for the same query."""
        key = normal(query)
        if key not in self._drawn:
            self._drawn[key] = self.rng.random() < share
        return self._drawn[key]

    def hold_out(self, name: str, held_out: Iterable[Pair]) -> None:
        """Keeps pairs of a set for measuring."""
        for pair in held_out:
            self._held_out[name].append(pair)
            self._held_out_texts |= {normal(pair.source), normal(pair.target)}

    def add_pair(self, name: str, pair: Pair, fault: str | None = None) -> None:
        """Adds a pair of a set for training, unless the pair has a fault or is held out."""
        if fault is None and {normal(pair.source), normal(pair.target)} & self._held_out_texts:
            fault = "held out"
        if fault is None and pair in self._train:
            fault = "seen before"
        if fault is None:
            self._train[pair] = None
        self._counts[pair.task, name, fault or "taken"] += 1

    def add_texts(self, name: str, texts: Iterable[str]) -> None:
        """Adds clean texts of a set, unless they are held out."""
        for text in texts:
            is_new = text not in self._texts and normal(text) not in self._held_out_texts
            if is_new:
                self._texts[text] = None
            self._counts["text", name, "taken" if is_new else "held out or seen before"] += 1

    def write(self, directory: Path) -> None:
        """Writes train.tsv, text.txt, heldout/ and valid.tsv.

        valid.tsv has some of the held-out pairs, none of the test sets.
        """
        pairs.write(directory / "train.tsv", self._train)
        pairs.write_text(directory / "text.txt", self._texts)
        by_task: defaultdict[str, list[Pair]] = defaultdict(list)
        for name, held_out in self._held_out.items():
            pairs.write(directory / "heldout" / f"{name}.tsv", held_out)
            if name not in NOT_FOR_VALIDATION:
                by_task[held_out[0].task] += held_out
        valid = [
            pair
            for task_pairs in by_task.values()
            for pair in random.Random(0).sample(task_pairs, min(VALID_PER_TASK, len(task_pairs)))
        ]
        pairs.write(directory / "valid.tsv", valid)

    def report(self) -> Iterator[str]:
        """Yields a line per set and task: how many were taken, and why others were not."""
        for name, held_out in self._held_out.items():
            yield f"held out    {name:24} {len(held_out):7}"
        grouped: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for (task, name, outcome), count in self._counts.items():
            grouped[task, name][outcome] = count
        for (task, name), outcomes in grouped.items():
            line = f"{task:12}{name:24} {outcomes.pop('taken', 0):7}"
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(outcomes.items()))
            yield f"{line}  ({reasons})" if reasons else line
