"""The small words between content words: how the words of a query relate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.guards.questions import is_polar

PREPOSITIONS = frozenset(
    {"about", "as", "at", "by", "for", "from", "in", "into", "of", "on", "to", "with"}
)
ALIKE = (
    frozenset({"at", "in", "on"}),
    frozenset({"in", "of"}),
    frozenset({"for", "of"}),
    frozenset({"about", "of"}),
    frozenset({"about", "on"}),
)
UNDROPPABLE = frozenset({"by", "from", "with"})
DEMONSTRATIVES = frozenset({"that", "these", "this", "those"})
ARTICLES = frozenset({"a", "an", "the"})
COPULAS = frozenset({"are", "is", "s", "was", "were"})
RELATIVES = frozenset({"that", "which", "who"})  # with which a clause begins
CLAUSE_WORDS = RELATIVES | ARTICLES | {"are", "is", "s"}
# Of "why is the moon red" a search may make "why moon is red".
MOVED = frozenset({"are", "can", "could", "is", "should", "was", "were", "will"})
FROM_TO = frozenset({"from", "to"})  # alike where a distance is asked: "how far is"
MEASURED = frozenset({"are", "away", "is", "was"})
HAVING = frozenset({"has", "have"})
RELATIONS = frozenset(
    {"above", "after", "before", "below", "between", "inside", "outside", "over", "since", "than"}
    | {"under", "until", "versus", "vs"}
)
CHOOSING = frozenset({"what", "which"})
ASKED = frozenset({"when", "where", "who", "whom", "whose"})
DEGREES = frozenset({"deep", "far", "fast", "long", "many", "much", "often", "old", "tall"})
MOST_NAME_WORDS = 4  # of a place between "from" and "to"

Pair = tuple[str, str]
"""The stems of two neighbouring content words."""


def loses_relation(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether "before", "over", "when", "who" or "how far" is gone."""
    lost = {*query.words} - {*candidate.words}
    if not (RELATIONS | ASKED).isdisjoint(lost):
        return True
    return "how" in lost and any(
        word == "how" and later in DEGREES for word, later in pairwise(query.words)
    )


def changes_relation(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether two neighbouring content words of both texts relate in another way.

    "alcohol from antibiotics" is not "alcohol with antibiotics", "cast an iron pan" no "cast iron
    pan", and "foods to avoid gout" are not those "to avoid with gout".
    """
    gaps: defaultdict[Pair, list[list[str]]] = defaultdict(list)
    for pair, gap in _find_gaps(query):
        gaps[pair].append(gap)
    inserted = list(_find_insertable(query))
    asks_distance = any(
        word == "far" and later in MEASURED for word, later in pairwise(query.words)
    )
    alike = (*ALIKE, FROM_TO) if asks_distance else ALIKE
    return any(
        pair in gaps
        and not any(_is_same_relation(pair, before, gap, inserted, alike) for before in gaps[pair])
        for pair, gap in _find_gaps(candidate)
    )


def _find_insertable(query: AnalysedText) -> Iterator[frozenset[str]]:
    """Yields what may come between two words of a phrase when a question becomes a search."""
    words = query.words
    chooses = not CHOOSING.isdisjoint(words[:2])  # "at what age"
    if chooses or (query.question_words and not is_polar(query)):
        yield ARTICLES | MOVED.intersection(words)
    elif is_polar(query):
        yield ARTICLES
    asks_what_is = not COPULAS.isdisjoint(words[1:2])  # "what's a hot dog"
    if chooses and not asks_what_is:  # "which dogs dig"
        yield ARTICLES | RELATIVES


def _find_gaps(text: AnalysedText) -> Iterator[tuple[Pair, list[str]]]:
    """Yields the stems of neighbouring content words, and the words between.

    "train from ghent to brussels" says no more than "train ghent to brussels".
    """
    for first, second in pairwise(text.content):
        gap = text.words[first + 1 : second]
        if gap == ["from"] and "to" in text.words[second + 1 : second + 1 + MOST_NAME_WORDS]:
            gap = []
        yield (text.stems[first], text.stems[second]), gap


def _is_same_relation(
    pair: Pair,
    gap: list[str],
    other: list[str],
    inserted: Sequence[frozenset[str]],
    alike: Sequence[frozenset[str]],
) -> bool:
    """Whether the words between a pair in a candidate (`other`) say what those in the query say."""
    if other == _shorten_clause(gap):
        return True
    if not gap:  # a phrase
        return not other or (
            not pair[0].isdigit() and any(words.issuperset(other) for words in inserted)
        )
    if not DEMONSTRATIVES.isdisjoint({*gap} - {*other}):
        return False
    before, after = (PREPOSITIONS.intersection(words) for words in (gap, other))
    if not after:
        return UNDROPPABLE.isdisjoint(before)
    return not before or any(
        first == second or {first, second} <= group
        for first in before
        for second in after
        for group in alike
    )


def _shorten_clause(gap: list[str]) -> list[str]:
    """Returns what a search writes for a clause: "not from" for "that are not from"."""
    if RELATIVES.isdisjoint(gap[:1]):
        return gap
    if gap[1:2] and gap[1] in HAVING and {*gap[2:]} & (ARTICLES | {"no"}):
        return ["with", *gap[2:]]  # "towns that have no", not "towns that have banned"
    return [word for word in gap if word not in CLAUSE_WORDS]
