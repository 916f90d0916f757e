"""Rewords questions by their form: `How can I X?` for `How do I X?`, and words that say the same.

A frame is a line of forms with slots. What fills the slots of one form is put into another form.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

WORDINGS = Path(__file__).parent / "wordings"
ONLY_READ, ONLY_WRITTEN = "<", ">"
PART = re.compile(r"\{([a-z])\}|\(([^()]*)\)")
WORD = r"[^\s?!.;]+(?:\.\w+)*\.?"
ARTICLE = r"(?:the|an?|my|your)"
CLOSED = (
    r"(?:who|what|which|that|when|where|how|why|if|is|are|was|were|be|do|does|did|has|have|had|can"
    r"|will|would|should|and|or|to|in|on|at|for|from|with|by|about|between|not|no|i|you|it|there|located|called|named|based|like|known)"
)
CLAUSE = r"(?:who|that|which|when|where|if|is|are|was|were|called|named|located|used|made|based)"
SINGULAR = r"(?<!(?<![siu'])s)"
PREPOSITION = r"(?:about|like|as|for|of|in|on|to|with|from|at|by)"
NAME = rf"(?:(?!{CLOSED}\b){WORD})"


def _words_but(excluded: str) -> str:
    """Returns a pattern of words without some words."""
    word = rf"(?!(?:{excluded})\b){WORD}"
    return f"(?:{word} ){{0,15}}{word}"


SLOTS = {
    "x": rf"{WORD}(?: {WORD}){{0,15}}",
    "y": rf"{WORD}(?: {WORD}){{0,15}}",
    # One thing: a few words, no verb, no plural.
    "s": rf"(?!\w+(?:ing|ed)\b)(?:{ARTICLE} )?(?:{NAME} ){{0,2}}(?!\w+ing\b){NAME}{SINGULAR}",
    "m": rf"(?!the\b|\w+(?:ing|ed)\b)(?:{ARTICLE} )?(?:{NAME} ){{0,2}}{NAME}{SINGULAR}",
    "c": r"[^\s?!.;,]+(?: [^\s?!.;,]+){0,8}",
    "p": rf"(?:{NAME} ){{0,2}}(?:people|children|{NAME}(?<=[^siu']s))",
    "d": rf"{ARTICLE} (?:(?!{CLAUSE}\b){WORD} ){{0,6}}(?!(?:{CLAUSE}|{PREPOSITION})\b){WORD}",
    "z": _words_but(r"from|to|at"),
    "q": _words_but(r"you|your|yours|yourself|i|me|my"),
    # Keywords: no question.
    "k": rf"(?!{CLOSED}\b)(?:{WORD} ){{0,5}}{WORD}",
    "a": r"(?:(?:more|less) \w+|\w{2,}er|better|worse)",
    "e": r"(?:(?:most|least) \w+|\w{2,}est|best|worst)",
    "n": r"\w+(?<!f)(?: \w+)?",
    "v": r"(?:is|was|has|had|costs?|weighs?|lived|began|started|came|won|made|earned|scored|sold"
    r"|uses|can|died|ran)\b[^,:;]*",
}
QUESTION = re.compile(
    r"(?:in|on|at|for|to|by)? ?(?:what|which|whom?|whose|when|where|why|how)\b|what's\b"
    r"|(?:is|are|was|were|do|does|did|can|could|will|would|should|may|must|am)\b"
    r"|(?:among|between|of|on average,)\b.* (?:which|who|what)\b",
    re.IGNORECASE,
)
EXCHANGED = 0.7  # of the reworded questions, those whose words are exchanged too
LONGEST_GERUND = 8  # words of a title


class Form(NamedTuple):
    """A form as it is read and as it is written.

    Attributes:
        pattern: matches a whole question without its end mark.
        text: with slots, and `(1)` for the alternative that was read.
        own: letters outside slots.
    """

    pattern: re.Pattern[str]
    text: str
    own: int


class Frame(NamedTuple):
    """Forms that ask the same."""

    read: tuple[Form, ...]
    written: tuple[Form, ...]


def read_frames(path: Path = WORDINGS / "frames.tsv") -> list[Frame]:
    """Reads frames, one a line."""
    frames = []
    for forms in _read_lines(path):
        parsed = [(_parse(form.lstrip("<> ")), form[:1]) for form in forms]
        frames.append(
            Frame(
                tuple(form for form, mark in parsed if mark != ONLY_WRITTEN),
                tuple(form for form, mark in parsed if mark != ONLY_READ),
            )
        )
    return frames


def read_synonyms(path: Path = WORDINGS / "synonyms.tsv") -> dict[str, list[str]]:
    """Reads words and phrases, each with those that may take its place."""
    synonyms = {}
    for terms in _read_lines(path):
        words = [term.lstrip("> ") for term in terms]
        for term in terms:
            if not term.startswith(ONLY_WRITTEN):
                synonyms[term] = [word for word in words if word != term]
    return synonyms


class Reworder:
    """Rewords questions.

    Args:
        frames: the forms of questions.
        synonyms: words and phrases, each with those that can replace it.
        verbs: in their base form, for titles such as "Managing developers"; empty: none.
        nouns: which no title begins with: "hunting dog" is not about how to hunt.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        synonyms: Mapping[str, Sequence[str]],
        verbs: frozenset[str] = frozenset(),
        nouns: frozenset[str] = frozenset(),
    ) -> None:
        self._frames = frames
        self._synonyms = synonyms
        self._verbs = verbs
        self._nouns = nouns
        longest_first = sorted(synonyms, key=len, reverse=True)
        self._terms = re.compile(rf"(?<![\w-])(?:{'|'.join(longest_first)})(?![\w-])")

    def reword(self, question: str, rng: random.Random) -> str | None:
        """Returns the question in another form or other words; None if none is known."""
        text, mark = _without_mark(question)
        formed = self._reframe(text, rng)
        if formed is not None and (mark or text[:1].isupper()):
            mark = "?" if QUESTION.match(formed) else "." if mark else ""
        formed = formed or self._untitle(text)
        reworded = formed or text
        if formed is None or rng.random() < EXCHANGED:
            reworded = self._exchange(reworded, rng)
        return reworded + mark if reworded.lower() != text.lower() else None

    def _reframe(self, text: str, rng: random.Random) -> str | None:
        """Returns the text in another form of its most specific frame.

        The others say less of the question: "tell me what the main use is", not "primary use".
        """
        found = [
            (form.own, frame, match)
            for frame in self._frames
            for form in frame.read
            if (match := form.pattern.fullmatch(text))
        ]
        found.sort(key=lambda item: -item[0])
        for _, frame, match in found:
            reworded = [_fill(form, match, text) for form in frame.written]
            options = [option for option in reworded if option.lower() != text.lower()]
            if options:
                return rng.choice(options)
        return None

    def _untitle(self, text: str) -> str | None:
        """Returns how a task is asked for whose title begins with a gerund."""
        first, _, rest = text.partition(" ")
        words = rest.split()
        if not first.lower().endswith("ing") or not 0 < len(words) < LONGEST_GERUND:
            return None
        if first.lower() in self._nouns:
            return None
        stem = first.lower().removesuffix("ing")
        undoubled = stem[:-1] if stem[-2:-1] == stem[-1:] else stem
        for verb in (f"{stem}e", undoubled, stem):
            if verb in self._verbs:
                return f"{'How' if text[:1].isupper() else 'how'} to {verb} {rest}"
        return None

    def _exchange(self, text: str, rng: random.Random) -> str:
        """Returns the text with one word or phrase exchanged, in small letters."""
        matches = list(self._terms.finditer(text)) if self._synonyms else []
        if not matches:
            return text
        match = rng.choice(matches)
        before = text[: match.start()]
        others = self._synonyms[match.group()]
        if re.search(r"\ban? $", before, re.IGNORECASE):  # an important: not "an significant"
            others = [word for word in others if _has_vowel(word) == _has_vowel(match.group())]
        return before + rng.choice(others) + text[match.end() :] if others else text


def _has_vowel(word: str) -> bool:
    """Whether a word begins with a vowel's letter."""
    return word[0] in "aeiou"


def _read_lines(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.split("\t")


def _parse(form: str) -> Form:
    pattern, end, own = "", 0, 0
    for match in PART.finditer(form):
        slot, alternatives = match.groups()
        fixed = form[end : match.start()]
        part = f"(?P<{slot}>{SLOTS[slot]})" if slot else f"(?P<one>{alternatives})"
        pattern += re.escape(fixed) + part
        own += len(fixed) + (0 if slot else 1)
        end = match.end()
    own += len(form) - end
    return Form(re.compile(pattern + re.escape(form[end:]), re.IGNORECASE), form, own)


def _fill(form: Form, match: re.Match[str], text: str) -> str:
    """Returns a form with what another one's slots have matched, written like the text."""
    is_typed = not text[:1].isupper()
    groups = match.groupdict()

    def part(found: re.Match[str]) -> str:
        slot, alternatives = found.groups()
        if slot:
            return str(groups[slot])
        options = alternatives.split("|")
        return (groups.get("one") or options[0]).lower()

    written = PART.sub(lambda found: f"\0{part(found)}\0", form.text)
    fixed = written.split("\0")
    if is_typed:
        fixed[::2] = [words.lower() for words in fixed[::2]]
    filled = "".join(fixed)
    return filled if is_typed else filled[:1].upper() + filled[1:]


def _without_mark(question: str) -> tuple[str, str]:
    """Returns a question without what ends it, and the mark; "" if there is none."""
    text = " ".join(question.split()).rstrip(" ?.!")
    return text, question.strip()[-1:] if question.strip()[-1:] in "?.!" else ""
