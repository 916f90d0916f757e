"""Adds noise to texts: typos, wrong spacing and case, disfluency, missing and swapped words."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Protocol

from t5train.words import STOP

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NEIGHBOURS = {
    letter: "".join(
        neighbour
        for near_row, near_letters in enumerate(ROWS)
        for near_column, neighbour in enumerate(near_letters)
        if neighbour != letter and abs(near_row - row) <= 1 and abs(near_column - column) <= 1
    )
    for row, letters in enumerate(ROWS)
    for column, letter in enumerate(letters)
}
SMALL_WORDS = frozenset(
    "a an the is are was do does did to of in on for be i it has have".split()  # noqa: SIM905
)
OPENING = re.compile(
    r"(?:How (?:(?:do|can|should|would) (?:I|you|we)|to)"
    r"|(?:What|Which|Who) (?:is|are|was|were)(?: the)?|(?:Is|Are) there(?: an?)?"
    r"|Can (?:I|you)|Should I|Why (?:do|does|is|are)) "
)
HOW_TO_VERB = re.compile(r"How (?:(?:do|can|should|would) (?:I|you|we|one)|to) ([a-z]{2,})\b")
DOUBLES_CONSONANT = re.compile(r"(?<![aeiou])[aeiou][^aeiouwxy]$")
VERBS = frozenset(
    "is are was were do does did can could should would will has have".split()  # noqa: SIM905
)
ARTICLES = frozenset("a an the my your his her our their".split())  # noqa: SIM905
REPAIRS = ("no", "no wait", "sorry", "i mean", "or rather", "wait", "no make that", "er", "um no")


def add_typo(word: str, rng: random.Random) -> str:
    """Drops, doubles, swaps, replaces or adds one letter of a word."""
    index = rng.randrange(len(word))
    chance = rng.random()
    if chance < 0.2:
        return word[:index] + word[index + 1 :]
    if chance < 0.23:
        return word[:index] + word[index] + word[index:]
    if chance < 0.43 and len(word) > 1:
        index = min(index, len(word) - 2)
        return word[:index] + word[index + 1] + word[index] + word[index + 2 :]
    neighbours = NEIGHBOURS.get(word[index].lower(), LETTERS)
    letter = rng.choice(neighbours if rng.random() < 0.5 else LETTERS)
    if word[index].isupper():
        letter = letter.upper()
    end = index if chance < 0.62 else index + 1
    return word[:index] + letter + word[end:]


class Typist(Protocol):
    """Decides which words get typos, and makes the typos."""

    def can_mistype(self, word: str) -> bool:
        """Whether a word may get a typo."""
        ...

    def __call__(self, word: str, rng: random.Random) -> str:
        """Returns a word with a typo."""
        ...


class AnyWord:
    """Mistypes words of three letters or more that are not in capitals."""

    def can_mistype(self, word: str) -> bool:
        """Whether a word is long enough, and no number, code or abbreviation."""
        return len(word) > 2 and word.isalpha() and not word.isupper()

    def __call__(self, word: str, rng: random.Random) -> str:
        """Returns a word with a typo of the keyboard."""
        return add_typo(word, rng)


ANY_WORD = AnyWord()


def add_typos(text: str, rng: random.Random, *, count: int = 1, typist: Typist = ANY_WORD) -> str:
    """Adds typos to words that may have one. A text without such words does not change."""
    words = text.split()
    for _ in range(count):
        places = [index for index, word in enumerate(words) if typist.can_mistype(word)]
        if places:
            index = rng.choice(places)
            words[index] = typist(words[index], rng)
    return " ".join(words)


def lowercase(text: str, rng: random.Random) -> str:
    """Writes a text as people type: in lower case, mostly without a question mark."""
    lower = text.lower()
    return (lower.rstrip("?. ") if rng.random() < 0.7 else lower) or text


def misspell_words(text: str, rng: random.Random, typist: Typist = ANY_WORD) -> str:
    """Adds a typo to about half of the words, which teaches spelling faster than one typo."""
    return " ".join(
        add_typos(word, rng, typist=typist) if rng.random() < 0.5 else word for word in text.split()
    )


def respace(text: str, rng: random.Random) -> str:
    """Joins two words, or splits a word."""
    words = text.split()
    index = rng.randrange(len(words))
    if rng.random() < 0.5 and len(words) > 1:
        index = min(index, len(words) - 2)
        words[index : index + 2] = [words[index] + words[index + 1]]
    elif len(words[index]) > 4:
        cut = rng.randrange(2, len(words[index]) - 1)
        words[index : index + 1] = [words[index][:cut], words[index][cut:]]
    return " ".join(words)


def add_disfluency(text: str, rng: random.Random) -> str:
    """Adds a false start: some words and a word of repair before the text or its remainder."""
    words = text.split()
    cut = rng.randrange(1, min(len(words), 6) + 1)
    start = words[:cut]
    if rng.random() < 0.5 and len(words) > 3:
        start[-1] = rng.choice(words[1:])
    elif rng.random() < 0.3:
        return " ".join([*start, start[-1], *words[cut:]])
    return " ".join([*start, rng.choice(REPAIRS), *words[rng.choice((0, max(cut - 1, 0))) :]])


def to_gerund(verb: str) -> str:
    """Returns a verb with -ing (make, making; get, getting), by a rule that is right for most."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and verb != "be":
        return verb[:-1] + "ing"
    is_doubled = len(verb) < 5 and DOUBLES_CONSONANT.search(verb)
    return verb + (verb[-1] if is_doubled else "") + "ing"


def to_title(text: str, *, gerund: bool = False) -> str:
    """Returns a question as a title: without its opening and mark, with a capital.

    Args:
        text: A question.
        gerund: "How can I trim edges?" becomes "Trimming edges", not "Trim edges".
    """
    verb = HOW_TO_VERB.match(text) if gerund else None
    opening = OPENING.match(text)
    if verb:
        title = to_gerund(verb[1]) + text[verb.end() :]
    else:
        title = text[opening.end() if opening else 0 :]
    title = title.rstrip("?. ")
    return title[:1].upper() + title[1:] or text


def misplace_verb(text: str) -> str:
    """Moves a question's verb to its position in a statement: "Why it is so?"."""
    words = text.split()
    if len(words) > 3 and words[1] in VERBS:
        position = 3 if words[2] in ARTICLES and len(words) > 4 else 2
        words.insert(position, words.pop(1))
    return " ".join(words)


def drop_question_form(text: str, rng: random.Random) -> str:
    """Removes a question's mark, opening or a small word, or misplaces its verb.

    The capital stays: a text that begins with a lower-case letter is a query as people type it.
    """
    chance = rng.random()
    if chance < 0.3:
        return to_title(text, gerund=rng.random() < 0.5)
    faulty = misplace_verb(text) if chance < 0.5 else text
    if rng.random() < 0.6:
        faulty = faulty.rstrip("?").rstrip()
    words = faulty.split()
    small = [i for i, word in enumerate(words) if i and word in SMALL_WORDS]
    if small and chance > 0.5 and rng.random() < 0.6:
        del words[rng.choice(small)]
    return " ".join(words) or text


def add_fault(
    text: str, rng: random.Random, *, clean: float = 0.3, typist: Typist = ANY_WORD
) -> str:
    """Adds a fault that a user could make, except to a share `clean` of the texts.

    Only a text that ends in a question mark loses its mark or its small words. Thus a model never
    learns to turn lower-case keywords into sentences.
    """
    if rng.random() < clean:
        return text
    chance = rng.random()
    if text.endswith("?") and chance > 0.55:
        return drop_question_form(text, rng) if chance < 0.92 else add_disfluency(text, rng)
    if chance < 0.08:
        return respace(text, rng)
    return add_typos(text, rng, count=2 if chance < 0.2 else 1, typist=typist)


def cut_excerpt(text: str, rng: random.Random) -> str:
    """Returns two to five adjacent words: a short text costs little and teaches as much."""
    words = text.split()
    size = min(rng.randrange(2, 6), len(words))
    start = rng.randrange(len(words) - size + 1)
    return " ".join(words[start : start + size])


def scramble(text: str, rng: random.Random) -> str:
    """Adds heavy noise for learning to copy: drops stop words, swaps words, adds typos.

    Names, numbers and other content words stay, so that a model does not learn to invent them.
    """
    words = [
        word
        for word in text.split()
        if rng.random() > (0.2 if word.casefold() in STOP and word != word.upper() else 0.0)
    ] or text.split()
    for index in range(len(words) - 1):
        if rng.random() < 0.12:
            words[index], words[index + 1] = words[index + 1], words[index]
    return add_typos(" ".join(words), rng, count=rng.randrange(3))


def mask_spans(tokens: Sequence[int], mask: int, rng: random.Random) -> list[int]:
    """Replaces spans of one to four tokens by a mask each, about a fifth of twenty tokens.

    Two tokens or more have at least one masked span, so of eight tokens about a third is masked.
    The training target is the whole text, not T5's list of spans: a small vocabulary has no
    sentinels.
    """
    masked: list[int] = []
    index = 0
    guaranteed = rng.randrange(len(tokens)) if len(tokens) > 1 else -1
    while index < len(tokens):
        if index == guaranteed or rng.random() < 0.04:
            masked.append(mask)
            index += min(rng.randrange(1, 5), max(1, len(tokens) // 2))
        else:
            masked.append(tokens[index])
            index += 1
    return masked
