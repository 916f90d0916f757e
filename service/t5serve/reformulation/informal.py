"""Spells out what people type in a hurry: "cant", "pls", "how 2", "w/o"."""

from __future__ import annotations

import re
from collections.abc import Container

from t5serve.reformulation.content_words import CONTRACTED

WORDS = {f"{verb}t": f"{verb}'t" for verb in CONTRACTED} | {
    "2day": "today",
    "b4": "before",
    "bday": "birthday",
    "becuz": "because",
    "cuz": "because",
    "gimme": "give me",
    "gonna": "going to",
    "ive": "i've",
    "kinda": "kind of",
    "lemme": "let me",
    "pls": "please",
    "plz": "please",
    "ppl": "people",
    "thats": "that's",
    "theres": "there's",
    "theyre": "they're",
    "thx": "thanks",
    "tmrw": "tomorrow",
    "wanna": "want to",
    "wat": "what",
    "wut": "what",
    "youre": "you're",
}
# A word in small letters, alone: no part of a name, an address or code.
WORD = re.compile(r"(?<![\w.@/\\'-])[a-z0-9]+(?![\w@/\\'-]|\.\w)")
IN_CONTEXT = tuple(
    (re.compile(pattern), said)
    for pattern, said in (
        (r"(?<![\w/])w/o(?= ?\w)", "without"),
        (r"(?<![\w/])w/(?: (?=\w)|(?=[a-z]{3}))", "with "),
        (r"\b(are|can|could|did|do|how|if|should|that|when|where|will|would) u\b(?!-)", r"\1 you"),
        (r"\bur (?=[a-z]{2})", "your "),
        (r"\bhow 2 (?=[a-z])", "how to "),
        (r"\bim (?=(?:a|an|in|not|on|so|\w+ing)\b)", "i'm "),
    )
)
QUOTED = re.compile(r'("[^"]*")')


def spell_out(query: str, known: Container[str] = frozenset()) -> str:
    """Returns a query with the usual spelling of chat words and without missing apostrophes.

    Quotations stay as they are. "Its", "were" and "ill" are words of their own, and stay too.

    Args:
        query: the query.
        known: words that are right.
    """

    def spell(match: re.Match[str]) -> str:
        word = match.group()
        return word if word in known else WORDS.get(word, word)

    parts = QUOTED.split(query)
    for index in range(0, len(parts), 2):  # a quotation stands between each two
        text = WORD.sub(spell, parts[index])
        for pattern, said in IN_CONTEXT:
            text = pattern.sub(said, text)
        parts[index] = text
    return "".join(parts)
