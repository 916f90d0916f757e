"""Makes the service's English word list: `python scripts/english.py`.

Reads SCOWL and WordNet as Debian installs them (`apt-get install scowl wordnet-base`), the words of
the package wordfreq, and a list of misspellings to leave out of those (`words.csv` of
crate-ci/typos: misspelling,correction). Writes words with their commonness and frequency, names,
near synonyms and antonyms: what the guards and the speller of `t5serve` go by.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from extras import Extra

EXTRA = Extra("train")
with EXTRA:
    import wordfreq

OUT = Path(__file__).parents[1] / "service/t5serve/reformulation/english.txt.gz"
NAME = 99  # sorts names behind all levels
LEVELS = (10, 20, 35, 40, 50, 55, 60, 70)  # SCOWL's sizes: 10 has the most common words
SPELLINGS = ("english", "american", "british", "british_z", "canadian", "australian")
WORD = re.compile(r"[a-z]+")
ZIPF_STEP = 0.25  # frequencies are rounded to it
MIN_ZIPF = 2.1  # of wordfreq's words: one in eight million, as kubernetes, nginx, mcentire
COMMON = 40  # the level up to which a word can be a synonym
PARTS = ("noun", "verb", "adj", "adv")
LETTERS = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}  # WordNet's
ANTONYM, DERIVATION = "!", "+"
WHOLE_SYNSET = "0000"  # in place of the words at both ends of a relation

Pair = tuple[str, str]


class Pointer(NamedTuple):
    """A relation of a word in a synset to a word in another; source and target are indices."""

    symbol: str
    offset: str
    part: str
    source: int
    target: int


class Synset(NamedTuple):
    """Words of one sense, and their relations."""

    words: list[str]
    pointers: list[Pointer]


def main(arguments: list[str] | None = None) -> int:
    """Writes the list and prints what is in it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("--scowl", type=Path, default=Path("/usr/share/dict/scowl"))
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--misspellings", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    EXTRA.require()
    for folder in (options.scowl, options.wordnet):
        if not folder.is_dir():
            parser.error(f"{folder} is not there: apt-get install scowl wordnet-base")
    levels = word_levels(options.scowl)
    names = proper_names(options.scowl) | frequent_words(options.misspellings)
    names -= levels.keys()
    synonyms, antonyms = relations(options.wordnet, levels)
    forms = irregular_forms(options.wordnet, levels)
    text = document(levels, names, forms, synonyms, antonyms)
    options.out.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(  # noqa: T201 - a command
        f"{len(levels)} words, {len(names)} names, {len(forms)} irregular forms, "
        f"{len(synonyms)} pairs of synonyms, {len(antonyms)} of antonyms: "
        f"{options.out.stat().st_size} bytes"
    )
    return 0


def word_levels(scowl: Path) -> dict[str, int]:
    """The words in small letters, with the lowest level that has them."""
    levels: dict[str, int] = {}
    for level in LEVELS:
        for word in _read(scowl, (f"{spelling}-words.{level}" for spelling in SPELLINGS)):
            if WORD.fullmatch(word):
                levels.setdefault(word, level)
    return levels


def proper_names(scowl: Path) -> set[str]:
    """The words that are written with a capital, in small letters."""
    files = (
        f"{spelling}-{kind}.{level}"
        for spelling in SPELLINGS
        for kind in ("upper", "proper-names")
        for level in LEVELS
    )
    return {word.lower() for word in _read(scowl, files) if WORD.fullmatch(word.lower())}


def frequent_words(misspellings: Path) -> set[str]:
    """The frequent words of web and other text that no dictionary may have: oled, nginx."""
    lines = misspellings.read_text("utf-8").splitlines()
    wrong = {line.partition(",")[0] for line in lines}
    words = wordfreq.iter_wordlist("en", wordlist="large")
    return {
        word
        for word in words
        if WORD.fullmatch(word)
        and word not in wrong
        and wordfreq.zipf_frequency(word, "en", wordlist="large") >= MIN_ZIPF
    }


def relations(wordnet: Path, levels: dict[str, int]) -> tuple[set[Pair], set[Pair]]:
    """Pairs of near synonyms, and of antonyms, among common words.

    Near synonyms share their most frequent sense, or one is derived from the other (lose, loss).
    Source of the format: WordNet's wndb(5WN).
    """
    synsets = {part: _synsets(wordnet / f"data.{part}") for part in PARTS}
    synonyms: set[Pair] = set()
    antonyms: set[Pair] = set()
    for part in PARTS:
        senses = _senses(wordnet / f"index.{part}")
        for offset, synset in synsets[part].items():
            usual = [w for w in synset.words if _is_common(w, levels) and senses[w] == offset]
            synonyms |= {_pair(a, b) for a in usual for b in usual if a != b}
            for pointer in synset.pointers:
                target = synsets[pointer.part][pointer.offset].words[pointer.target]
                source = synset.words[pointer.source]
                if source == target or not levels.keys() >= {source, target}:
                    continue
                if pointer.symbol == ANTONYM:
                    antonyms.add(_pair(source, target))
                elif _is_common(source, levels) and _is_common(target, levels):
                    synonyms |= {_pair(source, target)} if source[:3] == target[:3] else set()
    return synonyms - antonyms, antonyms


def _pair(a: str, b: str) -> Pair:
    return (a, b) if a < b else (b, a)


def _is_common(word: str, levels: dict[str, int]) -> bool:
    return levels.get(word, COMMON + 1) <= COMMON


def irregular_forms(wordnet: Path, levels: dict[str, int]) -> set[Pair]:
    """Pairs of an irregular form and its word: bought and buy, children and child."""
    lines = (
        line.split()
        for part in PARTS
        for line in (wordnet / f"{part}.exc").read_text("ascii").splitlines()
    )
    return {
        (form, word)
        for form, word, *_ in lines
        if form != word and levels.keys() >= {form, word} and levels[form] <= COMMON
    }


def document(
    levels: dict[str, int],
    names: set[str],
    forms: set[Pair],
    synonyms: set[Pair],
    antonyms: set[Pair],
) -> str:
    """The list as text: a title and a line of words for each section.

    The sections of words have a level and a frequency, those of names a frequency: "level 35 4.25",
    "names 2.5". Frequencies are decimal logarithms of the occurrences in a billion words.
    """
    alike: defaultdict[tuple[int, float], list[str]] = defaultdict(list)
    for word in sorted(levels.keys() | names):
        zipf = wordfreq.zipf_frequency(word, "en", wordlist="large")
        alike[levels.get(word, NAME), round(zipf / ZIPF_STEP) * ZIPF_STEP].append(word)
    sections = [
        (f"names {zipf:g}" if level == NAME else f"level {level} {zipf:g}", " ".join(words))
        for (level, zipf), words in sorted(alike.items())
    ]
    sections.append(("forms", " ".join(f"{a}={b}" for a, b in sorted(forms))))
    sections.append(("synonyms", " ".join(f"{a}={b}" for a, b in sorted(synonyms))))
    sections.append(("antonyms", " ".join(f"{a}={b}" for a, b in sorted(antonyms))))
    return "".join(f"{title}\n{body}\n" for title, body in sections)


def _read(scowl: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if (scowl / name).is_file():
            yield from (scowl / name).read_text("latin-1").split()


def _senses(index: Path) -> dict[str, str]:
    """The synset of each word's most frequent sense."""
    senses = {}
    for line in index.read_text("ascii").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            senses[fields[0]] = fields[-int(fields[2])]
    return senses


def _synsets(data: Path) -> dict[str, Synset]:
    """The synsets of a file, by offset."""
    synsets = {}
    for line in data.read_text("latin-1").splitlines():
        if line.startswith(" "):
            continue
        fields = line.partition(" | ")[0].split()
        count = int(fields[3], 16)
        words = [re.sub(r"\(\w+\)$", "", word).lower() for word in fields[4 : 4 + 2 * count : 2]]
        start = 5 + 2 * count
        end = start + 4 * int(fields[start - 1])
        pointers = [
            Pointer(symbol, target, LETTERS[part], *(index - 1 for index in bytes.fromhex(ends)))
            for symbol, target, part, ends in zip(*[iter(fields[start:end])] * 4, strict=True)
            if symbol in (ANTONYM, DERIVATION) and ends != WHOLE_SYNSET
        ]
        synsets[fields[0]] = Synset(words, pointers)
    return synsets


if __name__ == "__main__":
    sys.exit(main())
