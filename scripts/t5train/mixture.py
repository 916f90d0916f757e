"""Which examples come, and how often: pairs by task, and text with noise of several kinds."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from t5train import noise
from t5train.pairs import Pair, prefix
from t5train.swap import Swapper
from t5train.vocabulary import UNK, Vocabulary

T = TypeVar("T")
# Made of text; all else are names of tasks in the pairs.
MEND, FORM, SPELL, KEEP = "mend", "form", "spell", "keep"
DENOISE, SPAN = "denoise", "span"
FROM_TEXT = (MEND, FORM, SPELL, KEEP, DENOISE, SPAN)
MEND_TASK = "fix"  # of FORM, SPELL and KEEP as well
TYPED = 0.5  # of the texts to mend or keep, those that are made to look as people type
EXCERPTS = 0.5  # of the texts to mend, those of which a few words are taken
TRIES = 1000  # of an example that fits
COINED = 0.4  # of the texts to keep or to form, those in which a word is one that nobody knows
SAMPLED = 0.5  # of the texts to mend or keep, those that are cut into other pieces each time


class Example(NamedTuple):
    """Token ids of both sides, each with its `</s>`."""

    source: list[int]
    target: list[int]


def parse(shares: str) -> dict[str, float]:
    """Shares by name, as in `paraphrase=5,mend=3`.

    Raises:
        ValueError: something else, or nothing above zero.
    """
    parsed = {}
    for part in filter(None, shares.split(",")):
        name, _, share = part.partition("=")
        parsed[name.strip()] = float(share)
    if not parsed or min(parsed.values()) < 0 or not sum(parsed.values()):
        raise ValueError(f"{shares!r} gives no shares")
    return parsed


def tasks(shares: Mapping[str, float]) -> set[str]:
    """The tasks that a model learns from such shares; noise to be undone is MEND_TASK."""
    trained = {name for name, share in shares.items() if share}
    noise_to_undo = {MEND_TASK} if trained & {MEND, FORM, SPELL, KEEP} else set()
    return trained - {*FROM_TEXT} | noise_to_undo


class Mixture:
    """Draws examples without end: each source runs through in a random order, then again.

    Attributes:
        left_out: how many pairs are longer than `longest` tokens on a side.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        text: Sequence[str],
        vocabulary: Vocabulary,
        rng: random.Random,
        *,
        longest: int = 64,
        swapped: float = 0.0,
    ) -> None:
        self._vocabulary, self._rng, self._longest = vocabulary, rng, longest
        self._swap = Swapper(text, rng) if swapped else None
        self._swapped = swapped
        by_task: defaultdict[str, list[Pair]] = defaultdict(list)
        for pair in pairs:
            if max(map(len, self._example(*pair))) <= longest:
                by_task[pair.task].append(pair)
        self.left_out = len(pairs) - sum(map(len, by_task.values()))
        self._pairs = {task: self._endless(of_task) for task, of_task in by_task.items()}
        questions = [line for line in text if line.endswith("?")]
        lines = {name: questions if name == FORM else text for name in FROM_TEXT}
        self._lines = {name: self._endless(found) for name, found in lines.items() if found}

    def check(self, shares: Mapping[str, float]) -> None:
        """Whether there is something of everything that has a share.

        Raises:
            ValueError: a share for a task without pairs, or for text when there is none.
        """
        for name in (name for name, share in shares.items() if share):
            if name in FROM_TEXT and name not in self._lines:
                needed = "text with lines that end in a question mark" if name == FORM else "text"
                raise ValueError(f"{name!r} needs {needed}: give some, or it no share")
            if name not in FROM_TEXT and name not in self._pairs:
                known = ", ".join([*self._pairs, *FROM_TEXT])
                raise ValueError(f"no pairs of the task {name!r} that fit; there are {known}")

    def draw(self, shares: Mapping[str, float]) -> Example:
        """One example that fits, of shares that were checked.

        Raises:
            ValueError: everything is too long.
        """
        for _ in range(TRIES):
            name = self._rng.choices(list(shares), list(shares.values()))[0]
            example = self._make(name)
            if max(map(len, example)) <= self._longest:
                return example
        raise ValueError(f"no text is short enough: {self._longest} tokens")

    def _make(self, name: str) -> Example:
        if name in FROM_TEXT:
            return self._of_text(name, next(self._lines[name]))
        pair = next(self._pairs[name])
        if self._swap and name != MEND_TASK and self._rng.random() < self._swapped:
            pair = self._swap(pair)
        return self._example(pair.task, pair.source, pair.target)

    def _of_text(self, name: str, text: str) -> Example:
        rng = self._rng
        if name == SPAN:
            encode = self._vocabulary.encode
            target = encode(text)
            masked = noise.corrupt(target[:-1], UNK, rng)
            return Example([*encode(prefix(SPAN))[:-1], *masked, target[-1]], target)
        if name == DENOISE:
            return self._example(DENOISE, noise.scramble(text, rng), text)
        if self._swap and name in (FORM, KEEP) and rng.random() < COINED:
            text = self._swap.coin(text)
        if name != FORM and rng.random() < TYPED:
            text = noise.typed(text, rng)
        if name == SPELL or (name == MEND and rng.random() < EXCERPTS):
            text = noise.excerpt(text, rng)
        faults = {MEND: noise.fault, FORM: noise.misform, SPELL: noise.garble}
        faulty = faults[name](text, rng) if name in faults else text
        example = self._example(MEND_TASK, faulty, text)
        if rng.random() < SAMPLED:
            before = self._vocabulary.encode(prefix(MEND_TASK))[:-1]
            example = example._replace(source=[*before, *self._vocabulary.sample(faulty)])
        return example

    def _example(self, task: str, source: str, target: str) -> Example:
        encode = self._vocabulary.encode
        return Example(encode(prefix(task) + source), encode(target))

    def _endless(self, items: Sequence[T]) -> Iterator[T]:
        order = list(range(len(items)))
        while True:
            self._rng.shuffle(order)
            yield from (items[index] for index in order)
