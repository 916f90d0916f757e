"""Who a text speaks of, and words that say something else when they are added."""

from __future__ import annotations

from collections.abc import Sequence

from t5serve.reformulation.content_words import (
    AUXILIARIES,
    CONTRACTED,
    MEDDLING_WORDS,
    POSSESSIONS,
)
from t5serve.reformulation.guards.analysed_text import AnalysedText

PRONOUNS = frozenset({"i", "it", "we", "you"})  # with which a statement begins
# Whoever asks "how do i delete my account" asks the same of "your account" and "an account".
OWNERS = frozenset({"my", "our", "your"})
ASKERS = frozenset({"i", "me", "my", "our", "us", "we", "you"})  # "your opening hours" has none
SPEAKERS = ASKERS | OWNERS
CLAUSES = frozenset({"after", "because", "but", "if", "since", "when", "while"})

# What a sentence has, and a name such as "my chemical romance" has not.
SENTENCES = AUXILIARIES | CLAUSES | CONTRACTED | PRONOUNS | {"a", "an"}
LONG_SENTENCES = SENTENCES | {"during", "from", "the", "with", "without"}
FEW_WORDS = 4  # "my dog ate chocolate", but not "my dog skip"
MANY_WORDS = 6  # "my keyboard types the wrong letters", but not "my generation the who"
WORKS = frozenset(  # "my hero academia season 2 release date"
    {"actor", "album", "book", "cast", "characters", "ending", "episode", "episodes", "explained"}
    | {"film", "lyrics", "movie", "oscar", "podcast", "release", "season", "series", "song"}
    | {"songs", "soundtrack", "subtitles", "summary", "trailer", "watch"}
)
ANYBODY = frozenset({"anybody", "anyone", "people", "person", "somebody", "someone"})
NAMES = frozenset({"go", "it", "may", "us", "will"}) | frozenset("cdmrst")  # may begin a query
SUBJECTS: dict[str, frozenset[str]] = {  # after which of these words a question begins
    "may": frozenset({"i", "my", "our", "we", "you"}),
    "will": frozenset({"a", "an", "he", "i", "it", "my", "our", "she", "this", "we", "you"}),
}


def shortens_sentence(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a query says something of a thing, and a candidate says it without "my"."""
    words = query.words
    is_title = not WORKS.isdisjoint(words[2:])
    is_long = len(words) >= MANY_WORDS and not is_title
    says = not (LONG_SENTENCES if is_long else SENTENCES).isdisjoint(words[1:])
    if words[1:2] and words[1] in POSSESSIONS:
        says |= len(words) >= FEW_WORDS and not is_title
    return says and candidate.words[:1] == query.words[1:2]


def begins_question(words: Sequence[str]) -> bool:
    """Whether "may" or "will" asks something: "will it rain", but not "will smith", "will.i.am"."""
    subjects = SUBJECTS.get(words[0], frozenset())
    return not subjects.isdisjoint(words[1:2]) and words[1:3] != ["i", "am"]


def meddles(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a candidate speaks of somebody else, or adds a condition or advice."""
    added = {*candidate.words} - {*query.words}
    lost = {*query.words} - {*candidate.words}
    if not MEDDLING_WORDS.isdisjoint(added):
        return True
    if not OWNERS.isdisjoint(added) and ASKERS.isdisjoint(query.words):
        return True
    if not ANYBODY.isdisjoint(lost) and not SPEAKERS.isdisjoint(added):
        return True
    first = lost & {*query.words[:1]}
    if not NAMES.isdisjoint(first) and not begins_question(query.words):
        return True  # "go channel", "us visa", "it support", but not "will it rain"
    if not OWNERS.isdisjoint(first) and not shortens_sentence(candidate, query):
        return True  # "my chemical romance songs", "your name movie"
    return not PRONOUNS.isdisjoint(candidate.words[:1]) and PRONOUNS.isdisjoint(query.words[:1])
