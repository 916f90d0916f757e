"""Phrases that must stand as they are: quotations, capitalised names, the caller's terms."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.text import plain_words

# A phrase contains no opening quote. Otherwise a text of many opening quotes takes quadratic time.
# Single quotes count only at the edges of words. Elsewhere they are apostrophes.
QUOTED = re.compile(
    r'"([^"]{1,200})"'
    r"|[\u201c\u201e]([^\u201c\u201d\u201e]{1,200})[\u201c\u201d]"
    r"|\u00ab([^\u00ab\u00bb]{1,200})\u00bb"
    r"|\u2039([^\u2039\u203a]{1,200})\u203a"
    r"|\u300c([^\u300c\u300d]{1,200})\u300d"
    r"|(?<!\w)['\u2018]([^'\u2018\u2019]{1,200})['\u2019](?!\w)"
)
WORD = re.compile(r"\w+(?:['\u2019.&-]\w+)*")
TITLE = re.compile(r"dr|ft|gen|jr|mrs?|ms|mt|no|prof|rev|sgt|sr|st|vs", re.IGNORECASE)
ROLES = frozenset(  # before a name: "author David Chanoff"
    {"actor", "actress", "author", "composer", "director", "musician", "painter", "philosopher"}
    | {"scientist", "singer", "writer"}
)
# Words that begin a sentence and are no names, whatever word follows.
SENTENCE_OPENERS = ROLES | frozenset(
    """
    a about after against also although am among an and any are as at because before
    between but by can compare compared comparing could dear describe did do does during
    each every except explain find for from getting give got had has have hello hey hi his
    hiya how if in is it like list looking may my need of on or our please recommend shall
    should show since so some suggest tell than that the their there these they this those
    though to unless until was we were what when where which while who whom whose why will
    with within without would your
    """.split()  # noqa: SIM905
)


class Phrases:
    """Keeps phrases word by word.

    Args:
        phrases: what a candidate must contain; phrases without a word are ignored.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        padded = (f" {' '.join(plain_words(phrase))} " for phrase in phrases)
        self._phrases = [phrase for phrase in padded if phrase.strip()]

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a candidate lost a phrase."""
        return any(phrase not in candidate.padded for phrase in self._phrases)


def find_quotations(text: str) -> list[str]:
    """Returns the phrases between quotation marks."""
    normal = unicodedata.normalize("NFKC", text)
    return [next(filter(None, groups)) for groups in QUOTED.findall(normal)]


def find_capitalised_names(text: str) -> list[str]:
    """Returns the words that are names, judged by their capitals.

    The first word of a sentence is a name in two cases: it has a capital after its first
    letter, or a name follows and the word is not a usual sentence opener. A text entirely in
    capitals has no names.
    """
    text = unicodedata.normalize("NFKC", text)
    if text.isupper():
        return []
    names: list[str] = []
    next_is_name = False
    for match in reversed(list(WORD.finditer(_mask_marks(text)))):
        word = re.sub("['\u2019]s$", "", text[match.start() : match.end()])
        is_name = any(map(str.isupper, word)) and re.split("['\u2019]", word)[0] != "I"
        if is_name and _begins_sentence(text[: match.start()]):
            has_inner_capital = any(map(str.isupper, word[1:]))
            is_name = has_inner_capital or (next_is_name and word.lower() not in SENTENCE_OPENERS)
        if is_name:
            names.append(word)
        next_is_name = is_name
    return names[::-1]


def _mask_marks(text: str) -> str:
    """Returns a text of the same length with a letter for each combining mark: it ends no word."""
    if text.isascii():
        return text
    return "".join("x" if unicodedata.category(c)[0] == "M" else c for c in text)


def _begins_sentence(preceding: str) -> bool:
    """Whether the word after this text is the first of a sentence."""
    preceding = preceding.rstrip("\"'\u201c\u201e\u00ab( \t")
    if not preceding or preceding[-1] in "?!:":
        return True
    if preceding[-1] != ".":
        return False
    words = preceding[:-1].split()[-1:]  # "St." and "U.S." end no sentence
    if not words:
        return True
    is_number = words[0][0].isdigit()  # "4.12."
    is_abbreviation = TITLE.fullmatch(words[0]) or "." in words[0] or len(words[0]) == 1
    return is_number or not is_abbreviation
