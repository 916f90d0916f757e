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
MEND, SPELL, DENOISE, SPAN = "mend", "spell", "denoise", "span"
FROM_TEXT = (MEND, SPELL, DENOISE, SPAN)
MEND_TASK = "fix"  # of SPELL as well
EXCERPTS = 0.5  # of the texts to mend, those of which a few words are taken


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


class Mixture:
    """Draws examples without end: each source runs through in a random order, then again."""

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
            by_task[pair.task].append(pair)
        self._pairs = {task: self._endless(of_task) for task, of_task in by_task.items()}
        self._text = self._endless(text) if text else None

    def draw(self, shares: Mapping[str, float]) -> Example:
        """One example that fits.

        Raises:
            ValueError: a share for a task without pairs, or for text when there is none.
        """
        while True:
            name = self._rng.choices(list(shares), list(shares.values()))[0]
            example = self._make(name)
            if max(map(len, example)) <= self._longest:
                return example

    def _make(self, name: str) -> Example:
        encode = self._vocabulary.encode
        if name not in FROM_TEXT:
            if name not in self._pairs:
                raise ValueError(f"no pairs of the task {name!r}")
            pair = next(self._pairs[name])
            if self._swap and name != MEND_TASK and self._rng.random() < self._swapped:
                pair = self._swap(pair)
            return Example(encode(prefix(pair.task) + pair.source), encode(pair.target))
        if self._text is None:
            raise ValueError(f"{name!r} needs text")
        text = next(self._text)
        if name == MEND:
            if self._rng.random() < EXCERPTS:
                text = noise.excerpt(text, self._rng)
            faulty = noise.fault(text, self._rng)
            return Example(encode(prefix(MEND_TASK) + faulty), encode(text))
        if name == SPELL:
            text = noise.excerpt(text, self._rng)
            garbled = noise.garble(text, self._rng)
            return Example(encode(prefix(MEND_TASK) + garbled), encode(text))
        target = encode(text)
        if name == DENOISE:
            return Example(encode(prefix(DENOISE) + noise.scramble(text, self._rng)), target)
        masked = noise.corrupt(target[:-1], UNK, self._rng)
        return Example([*encode(prefix(SPAN))[:-1], *masked, target[-1]], target)

    def _endless(self, items: Sequence[T]) -> Iterator[T]:
        order = list(range(len(items)))
        while True:
            self._rng.shuffle(order)
            yield from (items[index] for index in order)
