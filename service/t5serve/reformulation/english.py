"""English words: how common and frequent each is, its stem, near synonyms and antonyms.

The list comes with the package. `scripts/english.py` makes it of SCOWL, WordNet and wordfreq.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import NamedTuple, Self

import Stemmer
from rapidfuzz.distance import OSA

from t5serve.reformulation.edits import edit_once

COMMON_LEVEL = 35  # SCOWL's size of the 48,000 words that most people know
USUAL_LEVEL = 60  # SCOWL's size of the words that corrections may use
UNKNOWN_LEVEL = 100
MAX_ERRORS = 2  # typing errors in a word
MIN_MISSPELT = 4  # letters; shorter words are too similar to other words
PREFIXES = (
    *("anti", "auto", "bio", "counter", "cyber", "hyper", "hypo", "infra", "inter", "intra"),
    *("macro", "mega", "meta", "micro", "mini", "mono", "multi", "neuro", "over", "para", "poly"),
    *("post", "pre", "pseudo", "semi", "sub", "super", "trans", "ultra", "under"),
)
SHORT = 5  # letters; words up to this length can have one wrong letter, longer ones two

# Words that are exchangeable in search queries, but not synonyms in WordNet.
SEARCH_SYNONYMS = (
    ("best", "top", "greatest"),
    ("biggest", "largest"),
    ("buy", "purchase", "shop"),
    ("cheap", "affordable", "budget", "inexpensive"),
    ("compare", "comparison", "difference", "different", "differ", "versus", "vs"),
    ("definition", "define", "mean", "meaning"),
    ("delete", "remove", "eliminate"),
    ("established", "founded"),
    ("fast", "quick", "quickly", "rapid"),
    ("fix", "repair", "mend", "solve", "troubleshoot"),
    ("hotel", "accommodation", "lodging"),
    ("kid", "child"),
    ("learn", "study"),
    ("lose", "loss"),
    ("movie", "film"),
    ("photo", "picture", "image"),
    ("price", "cost"),
    ("recommend", "suggest"),
    ("safe", "safety"),
    ("start", "begin", "beginning"),
    ("television", "tv"),
    ("tip", "advice"),
)


class Usage(NamedTuple):
    """How well a word is known.

    Attributes:
        level: SCOWL's size of the word: 10 for the best known; UNKNOWN_LEVEL for a name.
        frequency: decimal logarithm of its occurrences in a billion words; 0 if wordfreq lacks it.
    """

    level: int
    frequency: float


UNKNOWN = Usage(UNKNOWN_LEVEL, 0.0)


class English:
    """The word list.

    Words are folded. Stems are Snowball's; an irregular form has the stem of its base word.
    """

    def __init__(self, text: str) -> None:
        lines = text.split("\n")
        sections = dict(zip(lines[::2], lines[1::2], strict=False))
        self._usage: dict[str, Usage] = {}
        for title, body in sections.items():
            usage = _read_usage(title)
            if usage is not None:
                self._usage |= dict.fromkeys(body.split(), usage)
        self._forms = dict(_split_pairs(sections["forms"]))
        self._stemmer = Stemmer.Stemmer("english")
        self._stems: dict[str, str] = {}
        synonyms = [*_split_pairs(sections["synonyms"])]
        synonyms += [(a, b) for group in SEARCH_SYNONYMS for a in group for b in group]
        self._synonyms = self._relate(synonyms)
        self._antonyms = self._relate([*_split_pairs(sections["antonyms"])])

    @classmethod
    @cache
    def load(cls) -> Self:
        """Reads the list that comes with the package, once."""
        data = resources.files("t5serve.reformulation") / "english.txt.gz"
        return cls(gzip.decompress(data.read_bytes()).decode())

    def is_word(self, word: str) -> bool:
        """Whether a word is English, or a name that English texts have."""
        return word in self._usage

    def is_common(self, word: str) -> bool:
        """Whether most people know a word."""
        return self.level(word) <= COMMON_LEVEL

    def level(self, word: str) -> int:
        """Returns SCOWL's size of a word: 10 for the best known, 100 for one that it lacks."""
        return self._usage.get(word, UNKNOWN).level

    def frequency(self, word: str) -> float:
        """Returns the decimal logarithm of a word's occurrences in a billion words, or 0."""
        return self._usage.get(word, UNKNOWN).frequency

    def is_misspelling(self, word: str, correction: str) -> bool:
        """Whether an unknown word is an English word with one or two typing errors.

        If a single error explains a common word, only that word counts: "chepest" is "cheapest",
        not "chest", and "leson" is "lesson", not "Leon".
        """
        if abs(len(word) - len(correction)) > MAX_ERRORS or len(word) < MIN_MISSPELT:
            return False
        if not word.isalpha() or self.is_derived(word):
            return False
        if USUAL_LEVEL < self.level(correction) < UNKNOWN_LEVEL or not self.is_word(correction):
            return False
        distance = OSA.distance(word, correction, score_cutoff=MAX_ERRORS)
        if distance > 1 and len(word) <= SHORT:
            return False
        if distance > MAX_ERRORS:
            return False
        is_nearest = distance == 1 and self.is_common(correction)
        return is_nearest or not any(map(self.is_common, edit_once(word)))

    def is_derived(self, word: str) -> bool:
        """Whether a word is English, or an English word after a prefix: intra-national."""
        return self.is_word(word) or any(
            word.startswith(prefix) and self.is_common(word.removeprefix(prefix))
            for prefix in PREFIXES
        )

    def stem(self, word: str) -> str:
        """Returns the stem of a word."""
        stem = self._stems.get(word)
        if stem is None:
            stem = str(self._stemmer.stemWord(self._forms.get(word, word)))
            if self.level(word) < UNKNOWN_LEVEL:  # unknown words would fill the memory
                self._stems[word] = stem
        return stem

    def are_synonyms(self, stem: str, other: str) -> bool:
        """Whether two stems are equal or near synonyms."""
        return stem == other or other in self._synonyms.get(stem, ())

    def antonyms(self, stem: str) -> frozenset[str]:
        """Returns the stems of a stem's antonyms."""
        return self._antonyms.get(stem, frozenset())

    def _relate(self, pairs: list[tuple[str, str]]) -> dict[str, frozenset[str]]:
        related: defaultdict[str, set[str]] = defaultdict(set)
        for a, b in pairs:
            stem, other = self.stem(a), self.stem(b)
            if stem != other:
                related[stem].add(other)
                related[other].add(stem)
        return {stem: frozenset(stems) for stem, stems in related.items()}


def _read_usage(title: str) -> Usage | None:
    """Reads the title of a section of words or names; None for another section."""
    kind, *numbers = title.split()
    if kind == "level":
        return Usage(int(numbers[0]), float(numbers[1]))
    return Usage(UNKNOWN_LEVEL, float(numbers[0])) if kind == "names" else None


def _split_pairs(body: str) -> Iterator[tuple[str, str]]:
    for pair in body.split():
        first, _, second = pair.partition("=")
        yield first, second
