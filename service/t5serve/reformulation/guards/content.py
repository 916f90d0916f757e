"""Content words: none lost, none added; what a question asks for; rare words."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from t5serve.reformulation.content_words import AUXILIARIES, WAYS
from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.lexicon import Lexicon

QUESTION_WORDS = {  # "what" and "which" ask for anything
    "how": "how",
    "when": "when",
    "where": "where",
    "who": "who",
    "whom": "who",
    "whose": "whose",
    "why": "why",
}


WHAT_IS = (["is"], ["are"], ["was"], ["were"])


class Content:
    """Keeps the content words of the query, each by its stem or a near synonym, and adds none.

    Also keeps what the query asks for: "who" does not become "when", nor a statement "why".
    """

    def __init__(self, query: AnalysedText, lexicon: Lexicon) -> None:
        self._query = query
        self._lexicon = lexicon

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a candidate lost a content word, or has one more."""
        query = self._query
        if question_words(candidate) != question_words(query) or _repeats(candidate, query):
            return True
        if is_polar(candidate) != is_polar(query) or _asks_more(candidate, query):
            return True
        lost = any(not has_word(candidate, query, i, self._lexicon) for i in query.content)
        return lost or any(
            not has_word(query, candidate, i, self._lexicon, candidate_first=False)
            for i in candidate.content
        )


class Rare:
    """Keeps the words of the query that not everybody knows, each by its stem."""

    def __init__(self, query: AnalysedText, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._query = query
        self._rare = [
            index
            for index in query.content
            if not query.english.is_common(query.words[index]) and not query.words[index].isdigit()
        ]

    @property
    def words(self) -> list[str]:
        """The rare words."""
        return [self._query.words[index] for index in self._rare]

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a candidate lost a rare word."""
        return any(
            not has_word(candidate, self._query, index, self._lexicon, synonyms=False)
            for index in self._rare
        )


def question_words(text: AnalysedText) -> frozenset[str]:
    """Returns what a text asks for; "the way to" asks how."""
    asked = {QUESTION_WORDS[word] for word in text.words if word in QUESTION_WORDS}
    return frozenset(asked | {"how"} if WAYS.intersection(text.words) else asked)


def is_polar(text: AnalysedText) -> bool:
    """Whether a text asks for yes or no."""
    return text.words[:1] != [] and text.words[0] in AUXILIARIES and not question_words(text)


def _asks_more(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a candidate asks for a choice or about the future, and the query does not.

    "What is the price" asks no more than "price"; "which price" and "what prices" do.
    """
    if ("will" in candidate.words) != ("will" in query.words):
        return True
    if "what" in query.words or "which" in query.words:
        return False
    starts_plainly = candidate.words[0:1] == ["what"] and candidate.words[1:2] in WHAT_IS
    return "which" in candidate.words or ("what" in candidate.words and not starts_plainly)


def _repeats(candidate: AnalysedText, query: AnalysedText) -> bool:
    """Whether a candidate says a content word more often than the query, or any word twice."""
    more = Counter(candidate.content_stems) - Counter(query.content_stems)
    if any(candidate.content_stems.count(stem) > 1 for stem in more):
        return True
    return _count_doubled(candidate.words) > _count_doubled(query.words)


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
    if synonyms and any(english.are_synonyms(stem, text.stems[i]) for i in text.content):
        return True
    if candidate_first:
        is_misspelt = word not in lexicon
        return is_misspelt and any(english.is_misspelling(word, other) for other in text.words)
    return any(other not in lexicon and english.is_misspelling(other, word) for other in text.words)
