"""Draws training examples by shares: pairs by task, and texts with several types of noise."""

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
# Examples made of text. All other names in shares are tasks of pairs.
MEND, FORM, SPELL, KEEP = "mend", "form", "spell", "keep"
DENOISE, SPAN = "denoise", "span"
FROM_TEXT = (MEND, FORM, SPELL, KEEP, DENOISE, SPAN)
MEND_TASK = "fix"  # the task of MEND, FORM, SPELL and KEEP
LOWERCASE_SHARE = 0.5  # of the texts to mend or keep: written as people type
EXCERPT_SHARE = 0.5  # of the texts to mend: reduced to a few words
COINED_SHARE = 0.4  # of the texts to keep or to form: one word is replaced by a coined word
SAMPLED_SHARE = 0.5  # of the texts to mend or keep: split into random pieces each time
TRIES = 1000  # draws of an example that is short enough


class Example(NamedTuple):
    """Token ids of source and target, each with `</s>`."""

    source: list[int]
    target: list[int]


def parse_shares(shares: str) -> dict[str, float]:
    """Returns shares by name, for example of `paraphrase=5,mend=3`.

    Raises:
        ValueError: The text has another form, or no share is above zero.
    """
    parsed = {}
    for part in filter(None, shares.split(",")):
        name, _, share = part.partition("=")
        parsed[name.strip()] = float(share)
    if not parsed or min(parsed.values()) < 0 or not sum(parsed.values()):
        raise ValueError(f"{shares!r} gives no shares")
    return parsed


def trained_tasks(shares: Mapping[str, float]) -> set[str]:
    """Returns the tasks that a model learns from shares; mending text is MEND_TASK."""
    names = {name for name, share in shares.items() if share}
    mend_task = {MEND_TASK} if names & {MEND, FORM, SPELL, KEEP} else set()
    return names - {*FROM_TEXT} | mend_task


class Mixture:
    """Draws examples without end. Each task's pairs come in random order, then in another one.

    Args:
        pairs: Pairs of all tasks.
        text: Clean texts.
        vocabulary: Tokenises the examples.
        rng: Draws the examples and the noise.
        max_tokens: The most tokens of a source or a target; longer pairs are left out.
        swap_share: The share of pairs with swapped names and numbers.

    Attributes:
        left_out: How many pairs have more than `max_tokens` tokens on a side.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        text: Sequence[str],
        vocabulary: Vocabulary,
        rng: random.Random,
        *,
        max_tokens: int = 64,
        swap_share: float = 0.0,
    ) -> None:
        self._vocabulary, self._rng, self._max_tokens = vocabulary, rng, max_tokens
        self._swapper = Swapper(text, rng) if swap_share else None
        self._swap_share = swap_share
        by_task: defaultdict[str, list[Pair]] = defaultdict(list)
        for pair in pairs:
            if max(map(len, self._encode_pair(*pair))) <= max_tokens:
                by_task[pair.task].append(pair)
        self.left_out = len(pairs) - sum(map(len, by_task.values()))
        self._pairs = {task: self._repeat(task_pairs) for task, task_pairs in by_task.items()}
        questions = [line for line in text if line.endswith("?")]
        lines = {name: questions if name == FORM else text for name in FROM_TEXT}
        self._lines = {name: self._repeat(texts) for name, texts in lines.items() if texts}

    def check(self, shares: Mapping[str, float]) -> None:
        """Checks that every name with a share has pairs or texts.

        Raises:
            ValueError: A share is of a task without pairs, or of text without texts.
        """
        for name in (name for name, share in shares.items() if share):
            if name in FROM_TEXT and name not in self._lines:
                needed = "text with lines that end in a question mark" if name == FORM else "text"
                raise ValueError(f"{name!r} needs {needed}: add --text, or set {name}=0")
            if name not in FROM_TEXT and name not in self._pairs:
                known = ", ".join([*self._pairs, *FROM_TEXT])
                raise ValueError(f"no pairs of the task {name!r} are short enough; known: {known}")

    def draw(self, shares: Mapping[str, float]) -> Example:
        """Draws an example that is short enough, by shares that were checked.

        Raises:
            ValueError: All examples are too long.
        """
        for _ in range(TRIES):
            name = self._rng.choices(list(shares), list(shares.values()))[0]
            example = self._make_example(name)
            if max(map(len, example)) <= self._max_tokens:
                return example
        raise ValueError(f"no text is short enough: {self._max_tokens} tokens")

    def _make_example(self, name: str) -> Example:
        if name in FROM_TEXT:
            return self._make_from_text(name, next(self._lines[name]))
        pair = next(self._pairs[name])
        if self._swapper and name != MEND_TASK and self._rng.random() < self._swap_share:
            pair = self._swapper.swap(pair)
        return self._encode_pair(pair.task, pair.source, pair.target)

    def _make_from_text(self, name: str, text: str) -> Example:
        rng = self._rng
        if name == SPAN:
            encode = self._vocabulary.encode
            target = encode(text)
            masked = noise.mask_spans(target[:-1], UNK, rng)
            return Example([*encode(prefix(SPAN))[:-1], *masked, target[-1]], target)
        if name == DENOISE:
            return self._encode_pair(DENOISE, noise.scramble(text, rng), text)
        if self._swapper and name in (FORM, KEEP) and rng.random() < COINED_SHARE:
            text = self._swapper.coin(text)
        if name != FORM and rng.random() < LOWERCASE_SHARE:
            text = noise.lowercase(text, rng)
        if name == SPELL or (name == MEND and rng.random() < EXCERPT_SHARE):
            text = noise.cut_excerpt(text, rng)
        add_noise = {
            MEND: noise.add_fault,
            FORM: noise.drop_question_form,
            SPELL: noise.misspell_words,
        }
        faulty = add_noise[name](text, rng) if name in add_noise else text
        example = self._encode_pair(MEND_TASK, faulty, text)
        if rng.random() < SAMPLED_SHARE:
            prefix_ids = self._vocabulary.encode(prefix(MEND_TASK))[:-1]
            example = example._replace(source=[*prefix_ids, *self._vocabulary.sample(faulty)])
        return example

    def _encode_pair(self, task: str, source: str, target: str) -> Example:
        encode = self._vocabulary.encode
        return Example(encode(prefix(task) + source), encode(target))

    def _repeat(self, items: Sequence[T]) -> Iterator[T]:
        order = list(range(len(items)))
        while True:
            self._rng.shuffle(order)
            yield from (items[index] for index in order)
