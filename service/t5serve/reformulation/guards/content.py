"""Content words: none lost, none added; keywords: most of them; rare words."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from t5serve.reformulation.content_words import AUXILIARIES
from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.guards.attributes import ATTRIBUTES
from t5serve.reformulation.guards.grammar import breaks_grammar
from t5serve.reformulation.guards.persons import meddles
from t5serve.reformulation.guards.questions import asks_less, asks_more, changes_time
from t5serve.reformulation.guards.relations import changes_relation, loses_relation
from t5serve.reformulation.guards.wordings import plainly, without_framing
from t5serve.reformulation.lexicon import Lexicon

VERSUS = frozenset({"versus", "vs"})
MIN_KEYWORDS = 0.87  # of a query's content words: all of up to seven


class PlainWording:
    """A guard that compares the query and a candidate in their plainest wording.

    Args:
        query: the query.
        said: the query and the earlier turns; what they say is not added.
        lexicon: words that are spelled rightly, whatever they look like.
    """

    def __init__(self, query: AnalysedText, said: AnalysedText, lexicon: Lexicon) -> None:
        self._asked = query
        self._query = plainly(query)
        self._said = self._query if said is query else plainly(said)
        self._lexicon = lexicon

    def _is_faulty(self, candidate: AnalysedText) -> bool:
        """Whether a candidate, as it is written, changes the time or breaks the grammar."""
        return changes_time(candidate, self._asked) or breaks_grammar(candidate, self._asked)


class Content(PlainWording):
    """Keeps the content words of the query, each by its stem or a near synonym, and adds none.

    Also keeps what the query asks for: "who" does not become "when", nor a statement "why". What
    was said in a conversation before the query is not added.
    """

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a candidate lost a content word, or has one more."""
        if self._is_faulty(candidate):
            return True
        query, candidate = self._query, plainly(candidate)
        if asks_less(candidate, query) or adds_words(candidate, self._said, self._lexicon):
            return True
        return not all(has_word(candidate, query, i, self._lexicon) for i in query.content)


class Keywords(PlainWording):
    """Keeps most of the content words of the query, and adds none.

    The answer may be a list of keywords, without the question; it asks nothing else. What was said
    in a conversation before the query is not added.
    """

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a candidate lost too many content words, or has one more."""
        if self._is_faulty(candidate):
            return True
        query, candidate = self._query, plainly(candidate)
        if loses_relation(candidate, query) or adds_words(candidate, self._said, self._lexicon):
            return True
        places = [index for index in query.content if not query.words[index].isdigit()]
        kept = sum(has_word(candidate, query, index, self._lexicon) for index in places)
        return kept < MIN_KEYWORDS * len(places)


class Rare:
    """Keeps the words of the query that not everybody knows, each by its stem.

    If everybody knows all of them, the least known one is kept, or a near synonym.
    """

    def __init__(self, query: AnalysedText, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._query = query = without_framing(query)
        words, english = query.words, query.english
        places = [
            index
            for index in query.content
            if not words[index].isdigit() and words[index] not in VERSUS
        ]
        rare = [index for index in places if not english.is_common(words[index])]
        self._takes_synonyms = not rare
        if places and not rare:
            rare = [max(places, key=lambda i: (english.level(words[i]), len(words[i])))]
        self._rare = rare

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a candidate lost a rare word."""
        return not all(
            has_word(candidate, self._query, i, self._lexicon, synonyms=self._takes_synonyms)
            or (self._takes_synonyms and self._is_named(i, candidate))
            for i in self._rare
        )

    def _is_named(self, index: int, candidate: AnalysedText) -> bool:
        """Whether a candidate names the attribute that a word asks for: "distance" for "far"."""
        word, request = self._query.words[index], frozenset(self._query.words)
        asks = bool(self._query.question_words)
        return asks and any(ATTRIBUTES.asks(word, name, request) for name in candidate.words)


def adds_words(candidate: AnalysedText, query: AnalysedText, lexicon: Lexicon) -> bool:
    """Whether a candidate says more: asks more, repeats, or has one more content word."""
    if asks_more(candidate, query) or repeats(candidate, query) or meddles(candidate, query):
        return True
    if changes_relation(candidate, query):
        return True
    return not all(
        has_word(query, candidate, index, lexicon, candidate_first=False)
        for index in candidate.content
    )


def repeats(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a candidate repeats what the query says less often.

    That is a content word, an auxiliary verb ("what are cars are available"), or any word at once.
    "vs" may stand between more than two things.
    """
    said = Counter(stem for stem in _telling_stems(candidate) if stem not in VERSUS)
    if any(said[stem] > 1 for stem in said - Counter(_telling_stems(query))):
        return True
    return _count_doubled(candidate.words) > _count_doubled(query.words)


def _telling_stems(text: AnalysedText) -> list[str]:
    return [*text.content_stems, *(word for word in text.words if word in AUXILIARIES)]


def _count_doubled(words: list[str]) -> int:
    return sum(word == later for word, later in pairwise(words))


def has_word(
    text: AnalysedText,
    source: AnalysedText,
    index: int,
    lexicon: Lexicon,
    *,
    synonyms: bool = True,
    candidate_first: bool = True,
) -> bool:
    """Whether a text has a word of another, or a word that stands for it.

    A word of the query is said in one way: "locked by a locker" does not have "locked" twice.

    Args:
        text: the text that is looked through.
        source: the text that has the word.
        index: the word's place in it.
        lexicon: words that are spelled rightly, whatever they look like.
        synonyms: whether a near synonym stands for the word.
        candidate_first: whether `text` is the candidate, in which a misspelt word may be corrected.
    """
    word, stem = source.words[index], source.stems[index]
    if stem in text.stems or word in text.joined or text.has_plural(word):
        return True
    neighbours = (source.words[index - 1 : index] or [""])[0], *source.words[index + 1 : index + 2]
    if any(neighbours[0] + word == other or word + neighbours[-1] == other for other in text.words):
        return True
    english = source.english
    if (
        synonyms
        and english.is_word(word)
        and any(
            english.are_synonyms(stem, text.stems[i])
            and english.is_word(text.words[i])
            and (candidate_first or text.stems[i] not in source.stems)
            for i in text.content
        )
    ):  # Snowball cuts unknown words as it pleases: "definately" has the stem of "define"
        return True
    if candidate_first:
        is_misspelt = word not in lexicon
        return is_misspelt and any(english.is_misspelling(word, other) for other in text.words)
    return any(other not in lexicon and english.is_misspelling(other, word) for other in text.words)
