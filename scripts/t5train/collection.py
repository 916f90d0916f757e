"""What is made of the sets: held-out pairs, training pairs, text; and a count of it all."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from t5train import pairs
from t5train.pairs import Pair
from t5train.words import normal

VALID_PER_TASK = 400


class Collection:
    """Takes held-out pairs first; what comes after must not share a text with them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._held: defaultdict[str, list[Pair]] = defaultdict(list)
        self._held_texts: set[str] = set()
        self._drawn: dict[str, bool] = {}
        self._train: dict[Pair, None] = {}
        self._texts: dict[str, None] = {}
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def draw(self, query: str, share: float) -> bool:
        """Whether a query is held out; the same answer for the same query."""
        key = normal(query)
        if key not in self._drawn:
            self._drawn[key] = self.rng.random() < share
        return self._drawn[key]

    def hold(self, name: str, held: Iterable[Pair]) -> None:
        """Keeps pairs for measuring."""
        for pair in held:
            self._held[name].append(pair)
            self._held_texts |= {normal(pair.source), normal(pair.target)}

    def add(self, name: str, pair: Pair, fault: str | None = None) -> None:
        """Takes a pair for training, unless it has a fault or is held out."""
        if fault is None and {normal(pair.source), normal(pair.target)} & self._held_texts:
            fault = "held out"
        if fault is None and pair in self._train:
            fault = "seen before"
        if fault is None:
            self._train[pair] = None
        self._counts[pair.task, name, fault or "taken"] += 1

    def text(self, name: str, texts: Iterable[str]) -> None:
        """Takes clean text, unless it is held out."""
        for text in texts:
            fresh = text not in self._texts and normal(text) not in self._held_texts
            if fresh:
                self._texts[text] = None
            self._counts["text", name, "taken" if fresh else "held out or seen before"] += 1

    def write(self, directory: Path) -> None:
        """train.tsv, text.txt, valid.tsv (some of the held-out pairs, not test's), heldout/."""
        pairs.write(directory / "train.tsv", self._train)
        pairs.write_text(directory / "text.txt", self._texts)
        by_task: defaultdict[str, list[Pair]] = defaultdict(list)
        for name, held in self._held.items():
            pairs.write(directory / "heldout" / f"{name}.tsv", held)
            if name not in {"quora-test", "mqr", "clean", "clean-questions"}:
                by_task[held[0].task] += held
        valid = [
            pair
            for held in by_task.values()
            for pair in random.Random(0).sample(held, min(VALID_PER_TASK, len(held)))
        ]
        pairs.write(directory / "valid.tsv", valid)

    def report(self) -> Iterator[str]:
        """One line a set and task: what was taken, and why the rest was not."""
        for name, held in self._held.items():
            yield f"held out    {name:24} {len(held):7}"
        grouped: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for (task, name, outcome), count in self._counts.items():
            grouped[task, name][outcome] = count
        for (task, name), outcomes in grouped.items():
            taken = outcomes.pop("taken", 0)
            rest = ", ".join(f"{outcome} {count}" for outcome, count in sorted(outcomes.items()))
            yield (
                f"{task:12}{name:24} {taken:7}  ({rest})"
                if rest
                else (f"{task:12}{name:24} {taken:7}")
            )
