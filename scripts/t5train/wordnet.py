"""Reads WordNet's database files: names by class, and adjectives with their attribute nouns.

The files are those of Debian's package wordnet-base. Their format is described in the manual page
wndb(5WN), https://wordnet.princeton.edu/documentation/wndb5wn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HYPONYM, INSTANCE, ATTRIBUTE, ANTONYM = "~", "~i", "=", "!"
HEADER = "  "  # the licence at the top of each file is indented


class Pointer(NamedTuple):
    """A relation to another synset; word numbers count from 1, and 0 is the whole synset."""

    symbol: str
    offset: int
    part: str
    source_word: int
    target_word: int


class Synset(NamedTuple):
    """Words of one meaning, spaces instead of underscores, without `(a)` and `(p)`."""

    words: tuple[str, ...]
    pointers: tuple[Pointer, ...]


class WordNet:
    """The nouns, adjectives and verbs' names of a database directory."""

    def __init__(self, directory: Path) -> None:
        self._synsets = {
            part: dict(_read(directory / f"data.{name}"))
            for part, name in (("n", "noun"), ("a", "adj"))
        }
        self._senses = dict(_read_index(directory / "index.noun"))
        self._verbs = frozenset(lemma for lemma, _ in _read_index(directory / "index.verb"))

    def verbs(self) -> frozenset[str]:
        """All verb lemmas in lower case."""
        return self._verbs

    def nouns(self) -> frozenset[str]:
        """All noun lemmas in lower case."""
        return frozenset(self._senses)

    def names(self, noun: str, sense: int = 1) -> Iterator[tuple[str, ...]]:
        """The words of each named instance below a noun's sense: people, cities, rivers."""
        for offset in self._below(noun, sense):
            for pointer in self._synsets["n"][offset].pointers:
                if pointer.symbol == INSTANCE:
                    yield self._synsets["n"][pointer.offset].words

    def subclasses(self, noun: str, sense: int = 1) -> Iterator[str]:
        """The first word of each class below a noun's sense, without the noun itself."""
        start = self._start(noun, sense)
        for offset in self._below(noun, sense):
            if offset != start:
                yield self._synsets["n"][offset].words[0]

    def attributes(self) -> dict[str, list[str]]:
        """Adjectives and the attributes that they are values of: tall, height."""
        nouns: defaultdict[str, list[str]] = defaultdict(list)
        for synset in self._synsets["a"].values():
            for pointer in synset.pointers:
                if pointer.symbol == ATTRIBUTE:
                    noun = self._synsets["n"][pointer.offset].words[0]
                    for word in synset.words:
                        nouns[word].append(noun)
        return dict(nouns)

    def _start(self, noun: str, sense: int) -> int:
        return self._senses[noun.replace(" ", "_")][sense - 1]

    def _below(self, noun: str, sense: int) -> Iterator[int]:
        """The synset and all classes below it, each once."""
        waiting = [self._start(noun, sense)]
        seen = set(waiting)
        while waiting:
            offset = waiting.pop()
            yield offset
            for pointer in self._synsets["n"][offset].pointers:
                if pointer.symbol == HYPONYM and pointer.offset not in seen:
                    seen.add(pointer.offset)
                    waiting.append(pointer.offset)


def _read(path: Path) -> Iterator[tuple[int, Synset]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith(HEADER):
            yield parse(line)


def parse(line: str) -> tuple[int, Synset]:
    """The offset and the synset of a line of a data file."""
    offset, _, _, count, *fields = line.partition("|")[0].split()
    size = int(count, 16)
    words = tuple(word.partition("(")[0].replace("_", " ") for word in fields[: 2 * size : 2])
    fields = fields[2 * size :]
    pointers = []
    for at in range(1, 1 + 4 * int(fields[0]), 4):
        symbol, target, part, numbers = fields[at : at + 4]
        source_word, target_word = divmod(int(numbers, 16), 256)
        pointers.append(Pointer(symbol, int(target), part, source_word, target_word))
    return int(offset), Synset(words, tuple(pointers))


def _read_index(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each lemma with the offsets of its senses, the most frequent first."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith(HEADER):
            lemma, _, count, *fields = line.split()
            yield lemma, tuple(map(int, fields[-int(count) :]))
