"""What a text asks: for a person, a place, a way, for yes or no."""

from __future__ import annotations

from t5serve.reformulation.content_words import AUXILIARIES
from t5serve.reformulation.guards.analysed_text import AnalysedText

PAST = frozenset({"did", "was", "were"})
PRESENT = frozenset({"are", "can", "do", "does", "is"})
FUTURE = frozenset({"will", "would"})
MODALS = (
    frozenset({"can", "could", "may", "might"}),
    frozenset({"must", "ought", "shall", "should"}),
)
"""Auxiliaries that ask what may be, and what ought to be; all others ask what is."""
WHAT_IS = (["is"], ["are"], ["was"], ["were"])
# "Is there a way to", "can you tell me where" ask how and where. "Is the best way to" does not.
INDIRECT_SUBJECTS = frozenset(
    {"anybody", "anyone", "i", "one", "somebody", "someone", "there", "we", "you"}
)


def is_polar(text: AnalysedText) -> bool:
    """Whether a text asks for yes or no, or has the form of such a question.

    "Can you tell me how to learn python" asks how; "is the best way to learn python" does not.
    """
    is_indirect = not INDIRECT_SUBJECTS.isdisjoint(text.words[1:2])
    return begins_with_auxiliary(text) and not (is_indirect and text.question_words)


def begins_with_auxiliary(text: AnalysedText) -> bool:
    """Whether the first word is an auxiliary verb."""
    return not AUXILIARIES.isdisjoint(text.words[:1])


def asks_more(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a candidate asks for something that the query does not ask for.

    "What is the price" asks no more than "price", nor "what is the way to" than "how"; "which
    price" and "what prices" do.
    """
    if asks_less(query, candidate):
        return True
    if "what" in query.words or "which" in query.words:
        return False
    added = {*candidate.words} - {*query.words}
    if "which" in candidate.words or {"what", "that"} <= added:
        return True  # "what is the app that won't open"
    if "what" not in candidate.words:
        return False
    starts_plainly = candidate.words[0] == "what" and candidate.words[1:2] in WHAT_IS
    asks_same = candidate.question_words or not (query.question_words or is_polar(query))
    return not (starts_plainly and asks_same)


def asks_less(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a candidate no longer asks for a person, a way.., for yes or no, about its time."""
    if query.question_words - candidate.question_words:
        return True
    lost = {*query.words} - {*candidate.words}
    if not PAST.isdisjoint(lost) and not PRESENT.isdisjoint(candidate.words):
        return True
    # "Is theer a way to" has the form of a question for yes or no, but only by its typo.
    loses_form = is_polar(query) and not begins_with_auxiliary(candidate)
    return loses_form or changes_modality(candidate, query) or not FUTURE.isdisjoint(lost)


def changes_modality(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a question for yes or no asks what is instead of what can or should be."""
    if not is_polar(query):
        return False
    return any(
        not modals.isdisjoint(query.words[:1]) and modals.isdisjoint(candidate.words)
        for modals in MODALS
    )


def changes_time(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a candidate asks what is or will be instead of what was, or the other way round."""
    lost, words = {*query.words} - {*candidate.words}, {*candidate.words}
    return any(
        not (before.isdisjoint(lost) or after.isdisjoint(words)) and before.isdisjoint(words)
        for before, after in ((PAST, PRESENT), (PAST, FUTURE), (PRESENT, PAST), (FUTURE, PAST))
    )
