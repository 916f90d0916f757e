"""Who a text speaks of, and words that say something else when they are added."""

from __future__ import annotations

from t5serve.reformulation.content_words import MEDDLING_WORDS
from t5serve.reformulation.guards.analysed_text import AnalysedText

PRONOUNS = frozenset({"i", "it", "we", "you"})  # with which a statement begins
OWNERS = frozenset({"my", "our", "your"})
SPEAKERS = frozenset({"i", "me", "we", "us", "you"}) | OWNERS
ANYBODY = frozenset({"anybody", "anyone", "people", "person", "somebody", "someone"})
NAMES = frozenset({"go", "it", "may", "us", "will"}) | frozenset("cdmrst")  # may begin a query


def meddles(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a candidate speaks of somebody else, or adds a condition or advice."""
    added = {*candidate.words} - {*query.words}
    lost = {*query.words} - {*candidate.words}
    if not MEDDLING_WORDS.isdisjoint(added):
        return True
    if not OWNERS.isdisjoint(added) and SPEAKERS.isdisjoint(query.words):
        return True
    if not ANYBODY.isdisjoint(lost) and not SPEAKERS.isdisjoint(added):
        return True
    if not NAMES.isdisjoint(lost & {*query.words[:1]}):
        return True  # "go channel", "us visa", "it support"
    return not PRONOUNS.isdisjoint(candidate.words[:1]) and PRONOUNS.isdisjoint(query.words[:1])
