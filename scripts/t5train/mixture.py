"""Draws training examples by shares: pairs by task, and texts with several types of noise."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from t5train import noise
from t5train.noise import ANY_WORD, Typist
from t5train.pairs import Pair, prefix
from t5train.searches import SEPARATOR, Row
from t5train.swap import Swapper
from t5train.vocabulary import UNK, Vocabulary

T = TypeVar("T")
# Examples made of text. All other names in shares are tasks of pairs.
MEND, FORM, SPELL, KEEP = "mend", "form", "spell", "keep"
DENOISE, SPAN = "denoise", "span"
FROM_TEXT = (MEND, FORM, SPELL, KEEP, DENOISE, SPAN)
KEYWORDS = "keywords"  # the end of an origin of rows
MEND_TASK = "fix"  # the task of MEND, FORM, SPELL and KEEP
LOWERCASE_SHARE = 0.5  # of the texts to mend or keep: written as people type
EXCERPT_SHARE = 0.5  # of the texts to mend: reduced to a few words
COINED_SHARE = 0.4  # of the texts to keep or to form: one word is replaced by a coined word
SAMPLED_SHARE = 0.5  # of the texts to mend or keep: split into random pieces each time
# How often each group of rows comes, and each noise of texts: what is rare among the rows is as
# important as what templates make without end.
ROW_SHARES = (
    "search/teacher=22,search/requests=7,search/attributes=7,search/comparisons=10"
    ",search/computing=6,search/documents=7,search/forums=6,search/knowledge=6,search/limits=6"
    ",search/living=6,search/messy=7,search/several=10,search/shopping=6,search/spoken=7"
    ",search/statements=8,search/workplace=6,search/chains=12,search/everyday=3,search/negations=3"
    ",search/negative=9,search/numbers=11,search/science=11"
    ",search/alexdong=3,search/alexdong-templates=3,search/wordnet=0.7,search/wellformedness=4"
    ",search/nq-open=1.5,search/disfl-qa=1.5,search/canard=1,search/trec-cast=0.3"
    ",search/keywords=10,search/confirmed=8,search/corrected=5"
    ",paraphrase/frames=12,paraphrase/attributes=2,paraphrase/alexdong=0,paraphrase/teacher=0.5"
    ",paraphrase/kept=3,paraphrase/confirmed=3,paraphrase/corrected=0"
    ",question/frames=3,question/attributes=1,question/requests=0.5,question/wellformedness=1.5"
    ",question/canard=0.5,question/trec-cast=0.1,question/comparisons=0.05,question/teacher=3"
    ",question/computing=0,question/documents=0.3,question/everyday=0,question/forums=0"
    ",question/knowledge=0.5,question/limits=0,question/living=0,question/messy=0"
    ",question/negations=0,question/negative=0,question/numbers=0,question/science=0"
    ",question/several=0,question/shopping=0,question/spoken=0,question/statements=0"
    ",question/workplace=0"
    ",mend=10,spell=4,keep=7,form=1.5"
)
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


def group_by_task(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """Returns pairs by task, which is what shares call them by."""
    groups: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.task].append(pair)
    return dict(groups)


def group_rows(rows: Iterable[Row]) -> dict[str, list[Pair]]:
    """Returns rows as pairs by `task/origin`, with the searches of a row in one target.

    What follows a slash in an origin does not count, such as `teacher/asks`. All keywords of a task
    are one group: they are their own search, wherever they come from.
    """
    groups: defaultdict[str, list[Pair]] = defaultdict(list)
    for row in rows:
        origin, _, form = row.origin.partition("/")
        if form.endswith(KEYWORDS):
            origin = KEYWORDS
        target = SEPARATOR.join(row.targets)
        groups[f"{row.task}/{origin}"].append(Pair(row.task, row.source, target))
    return dict(groups)


def trained_tasks(shares: Mapping[str, float]) -> set[str]:
    """Returns the tasks that a model learns from shares; mending text is MEND_TASK."""
    names = {name.partition("/")[0] for name, share in shares.items() if share}
    mend_task = {MEND_TASK} if names & {MEND, FORM, SPELL, KEEP} else set()
    return names - {*FROM_TEXT} | mend_task


@dataclass(frozen=True)
class Variation:
    """What is done to pairs and texts on the way, so that none is seen twice in the same form.

    Attributes:
        lowercase_share: The share of pairs in lower case on both sides.
        sampled_share: The share of pairs whose source is cut into other pieces each time.
        typist: Makes the typos in texts.
        common: Words that are not swapped for others; empty: those that are frequent in the texts.
    """

    lowercase_share: float = 0.0
    sampled_share: float = 0.0
    typist: Typist = ANY_WORD
    common: frozenset[str] = frozenset()


PLAIN = Variation()


class Mixture:
    """Draws examples without end. Each group's pairs come in random order, then in another one.

    Args:
        groups: Pairs by the name that shares call them by, such as their task.
        text: Clean texts.
        vocabulary: Tokenises the examples.
        rng: Draws the examples and the noise.
        max_tokens: The most tokens of a source or a target; longer pairs are left out.
        swap_share: The share of pairs with swapped names and numbers.
        variation: What else is done to pairs and texts.

    Attributes:
        left_out: How many pairs have more than `max_tokens` tokens on a side.
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[Pair]],
        text: Sequence[str],
        vocabulary: Vocabulary,
        rng: random.Random,
        *,
        max_tokens: int = 64,
        swap_share: float = 0.0,
        variation: Variation = PLAIN,
    ) -> None:
        self._vocabulary, self._rng, self._max_tokens = vocabulary, rng, max_tokens
        self._swapper = Swapper(text, rng, variation.common) if swap_share else None
        self._swap_share, self._variation = swap_share, variation
        short = {
            name: [pair for pair in pairs if self._is_short(pair)] for name, pairs in groups.items()
        }
        self.left_out = sum(map(len, groups.values())) - sum(map(len, short.values()))
        self._pairs = {name: self._repeat(pairs) for name, pairs in short.items() if pairs}
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
        if self._swapper and pair.task != MEND_TASK and self._rng.random() < self._swap_share:
            pair = self._swapper.swap(pair)
        if self._rng.random() < self._variation.lowercase_share:
            pair = pair._replace(source=pair.source.lower(), target=pair.target.lower())
        example = self._encode_pair(*pair)
        if self._rng.random() < self._variation.sampled_share:
            example = self._sample_source(example, pair.task, pair.source)
        return example

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
        faulty = self._add_noise(name, text)
        example = self._encode_pair(MEND_TASK, faulty, text)
        if rng.random() < SAMPLED_SHARE:
            example = self._sample_source(example, MEND_TASK, faulty)
        return example

    def _add_noise(self, name: str, text: str) -> str:
        rng, typist = self._rng, self._variation.typist
        if name == MEND:
            return noise.add_fault(text, rng, typist=typist)
        if name == FORM:
            return noise.drop_question_form(text, rng)
        return noise.misspell_words(text, rng, typist) if name == SPELL else text

    def _sample_source(self, example: Example, task: str, source: str) -> Example:
        prefix_ids = self._vocabulary.encode(prefix(task))[:-1]
        return example._replace(source=[*prefix_ids, *self._vocabulary.sample(source)])

    def _is_short(self, pair: Pair) -> bool:
        """Whether a pair's sides are short enough; a token has at least one byte."""
        sides = (prefix(pair.task) + pair.source, pair.target)
        return max(len(side.encode()) for side in sides) < self._max_tokens or (
            max(map(len, self._encode_pair(*pair))) <= self._max_tokens
        )

    def _encode_pair(self, task: str, source: str, target: str) -> Example:
        encode = self._vocabulary.encode
        return Example(encode(prefix(task) + source), encode(target))

    def _repeat(self, items: Sequence[T]) -> Iterator[T]:
        order = list(range(len(items)))
        while True:
            self._rng.shuffle(order)
            yield from (items[index] for index in order)
