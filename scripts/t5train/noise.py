"""Faults to be mended: typos, wrong spacing and case, disfluency, missing and shuffled words."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from t5train.words import STOP

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NEIGHBOURS = {
    letter: "".join(
        other
        for other_row, others in enumerate(ROWS)
        for other_column, other in enumerate(others)
        if other != letter and abs(other_row - row) <= 1 and abs(other_column - column) <= 1
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
DOING = re.compile(r"How (?:(?:do|can|should|would) (?:I|you|we|one)|to) ([a-z]{2,})\b")
CLOSED = re.compile(r"(?<![aeiou])[aeiou][^aeiouwxy]$")
VERBS = frozenset(
    "is are was were do does did can could should would will has have".split()  # noqa: SIM905
)
ARTICLES = frozenset("a an the my your his her our their".split())  # noqa: SIM905
REPAIRS = ("no", "no wait", "sorry", "i mean", "or rather", "wait", "no make that", "er", "um no")


def typo(word: str, rng: random.Random) -> str:
    """The word with one letter dropped, doubled, swapped, replaced or added."""
    at = rng.randrange(len(word))
    kind = rng.random()
    if kind < 0.2:
        return word[:at] + word[at + 1 :]
    if kind < 0.23:
        return word[:at] + word[at] + word[at:]
    if kind < 0.43 and len(word) > 1:
        at = min(at, len(word) - 2)
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    near = NEIGHBOURS.get(word[at].lower(), LETTERS)
    other = rng.choice(near if rng.random() < 0.5 else LETTERS)
    if word[at].isupper():
        other = other.upper()
    rest = at if kind < 0.62 else at + 1
    return word[:at] + other + word[rest:]


def mistype(text: str, rng: random.Random, *, count: int = 1) -> str:
    """Typos in words of three letters and more, not in BMW; without such words nothing changes."""
    found = text.split()
    for _ in range(count):
        long = [i for i, word in enumerate(found) if len(word) > 2 and word.isalpha()]
        long = [i for i in long if not found[i].isupper()]
        if long:
            at = rng.choice(long)
            found[at] = typo(found[at], rng)
    return " ".join(found)


def typed(text: str, rng: random.Random) -> str:
    """As people type into a search box: small letters, mostly no mark at the end."""
    small = text.lower()
    return (small.rstrip("?. ") if rng.random() < 0.7 else small) or text


def garble(text: str, rng: random.Random) -> str:
    """A typo in about every second word: teaches spelling faster than one typo a query does."""
    return " ".join(
        mistype(word, rng) if rng.random() < 0.5 else word  # leaves short words as they are
        for word in text.split()
    )


def respace(text: str, rng: random.Random) -> str:
    """Two words as one, or one as two."""
    found = text.split()
    at = rng.randrange(len(found))
    if rng.random() < 0.5 and len(found) > 1:
        at = min(at, len(found) - 2)
        found[at : at + 2] = [found[at] + found[at + 1]]
    elif len(found[at]) > 4:
        cut = rng.randrange(2, len(found[at]) - 1)
        found[at : at + 1] = [found[at][:cut], found[at][cut:]]
    return " ".join(found)


def stumble(text: str, rng: random.Random) -> str:
    """A false start: some words, a word of repair, the text or the rest of it."""
    found = text.split()
    cut = rng.randrange(1, min(len(found), 6) + 1)
    start = found[:cut]
    if rng.random() < 0.5 and len(found) > 3:
        start[-1] = rng.choice(found[1:])
    elif rng.random() < 0.3:
        return " ".join([*start, start[-1], *found[cut:]])
    return " ".join([*start, rng.choice(REPAIRS), *found[rng.choice((0, max(cut - 1, 0))) :]])


def gerund(verb: str) -> str:
    """A verb with -ing: make, making; get, getting; a rule of thumb, right for most."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and verb != "be":
        return verb[:-1] + "ing"
    doubled = len(verb) < 5 and CLOSED.search(verb)
    return verb + (verb[-1] if doubled else "") + "ing"


def headline(text: str, *, doing: bool = False) -> str:
    """A question as a title: what it opens with and its mark are gone, the capital stays.

    Args:
        text: a question.
        doing: "How can I trim edges?" becomes "Trimming edges", not "Trim edges".
    """
    verb = DOING.match(text) if doing else None
    opening = OPENING.match(text)
    if verb:
        rest = gerund(verb[1]) + text[verb.end() :]
    else:
        rest = text[opening.end() if opening else 0 :]
    rest = rest.rstrip("?. ")
    return rest[:1].upper() + rest[1:] or text


def misplace(text: str) -> str:
    """A question with its verb where a statement has it: "Why it is so?"."""
    found = text.split()
    if len(found) > 3 and found[1] in VERBS:
        place = 3 if found[2] in ARTICLES and len(found) > 4 else 2
        found.insert(place, found.pop(1))
    return " ".join(found)


def misform(text: str, rng: random.Random) -> str:
    """A question without its mark, its opening or a small word, if it has them.

    It keeps its capital: what begins with a small letter is a query as people type it.
    """
    kind = rng.random()
    if kind < 0.3:
        return headline(text, doing=rng.random() < 0.5)
    faulty = misplace(text) if kind < 0.5 else text
    if rng.random() < 0.6:
        faulty = faulty.rstrip("?").rstrip()
    found = faulty.split()
    small = [i for i, word in enumerate(found) if i and word in SMALL_WORDS]
    if small and kind > 0.5 and rng.random() < 0.6:
        del found[rng.choice(small)]
    return " ".join(found) or text


def fault(text: str, rng: random.Random, *, clean: float = 0.3) -> str:
    """What somebody could have typed who meant the text; the text itself in the share `clean`.

    Only a text that ends in a question mark loses its mark or its small words, so that lower-case
    keywords are never taught to become sentences.
    """
    if rng.random() < clean:
        return text
    kind = rng.random()
    if text.endswith("?") and kind > 0.55:
        return misform(text, rng) if kind < 0.92 else stumble(text, rng)
    if kind < 0.08:
        return respace(text, rng)
    return mistype(text, rng, count=2 if kind < 0.2 else 1)


def excerpt(text: str, rng: random.Random) -> str:
    """Two to five words in a row: a short text to mend costs little and teaches as much."""
    found = text.split()
    size = min(rng.randrange(2, 6), len(found))
    start = rng.randrange(len(found) - size + 1)
    return " ".join(found[start : start + size])


def scramble(text: str, rng: random.Random) -> str:
    """Heavy noise for learning to copy: small words missing, words swapped, typos.

    Names, numbers and other content words stay, so that none is ever learnt to be made up.
    """
    found = [
        word
        for word in text.split()
        if rng.random() > (0.2 if word.casefold() in STOP and word != word.upper() else 0.0)
    ] or text.split()
    for at in range(len(found) - 1):
        if rng.random() < 0.12:
            found[at], found[at + 1] = found[at + 1], found[at]
    return mistype(" ".join(found), rng, count=rng.randrange(3))


def corrupt(tokens: Sequence[int], mask: int, rng: random.Random) -> list[int]:
    """Token ids with spans of one to four replaced by one mask each: a fifth of twenty, say.

    At least one span, if there are two tokens, so of eight it is a third. The target is the whole
    text, not T5's list of spans: a small vocabulary has no sentinels.
    """
    kept: list[int] = []
    at = 0
    sure = rng.randrange(len(tokens)) if len(tokens) > 1 else -1
    while at < len(tokens):
        if at == sure or rng.random() < 0.04:
            kept.append(mask)
            at += min(rng.randrange(1, 5), max(1, len(tokens) // 2))
        else:
            kept.append(tokens[at])
            at += 1
    return kept
