"""Decides which queries stay as they are: other languages, code, identifiers, names."""

from __future__ import annotations

import re

from t5gguf.tasks import Task
from t5serve.reformulation.candidates import UnchangedReason
from t5serve.reformulation.content_words import COMMAND_WORDS, FOREIGN_WORDS, FUNCTION_WORDS
from t5serve.reformulation.english import English
from t5serve.reformulation.english_speller import EnglishSpeller
from t5serve.reformulation.guards.identifiers import find_identifiers
from t5serve.reformulation.text import plain_words

MAX_NAME_WORDS = 3
MAX_IDENTIFIERS = 3  # in a query that has nothing else
MIN_ENGLISH_SHARE = 0.4  # of a query's words; names and products are often not in the list
ONLY_FOREIGN_WORDS = FOREIGN_WORDS - FUNCTION_WORDS
CODE = re.compile(
    r"(?:^|\s)--?[A-Za-z][\w-]*(?=\s|=|$)"  # flags
    r"|\w\(\)|[{};]\s*$|=>|==|!=|&&|\|\||::\w|\$\(|\$\{|<\w+[^>]*>|</"
    r"|\b[A-Za-z]+(?:Error|Exception)\b\s*[:(]"
    r"|^\s*(?:SELECT|INSERT|UPDATE|DELETE)\s.+\s(?:FROM|INTO|SET)\s"
)


def reason_to_leave(query: str, task: Task, english: English) -> UnchangedReason | None:
    """Returns why a task leaves a query as it is; None: the query is reformulated.

    Args:
        query: the query, without a prefix.
        task: has the languages, and whether code is rewritten.
        english: the word list.
    """
    if not task.rewrite_code:
        tokens = query.split()
        identifiers = find_identifiers(query)
        if tokens and len(identifiers) == len(tokens) <= MAX_IDENTIFIERS:
            return "identifier"
        if CODE.search(query):
            return "code"
    if "en" in task.languages and not is_english(query, english, has_typos=task.corrects):
        return "language"
    if not (task.rewrite_code or task.corrects) and is_name(query, english):
        return "name"  # to a task that corrects, a misspelt word looks like one
    return None


def is_name(query: str, english: English) -> bool:
    """Whether a query is only a name: it has few words, and no common word."""
    words = plain_words(query)
    if not 0 < len(words) <= MAX_NAME_WORDS or any(map(str.isdigit, words)):
        return False
    return not any(
        english.is_common(word) or word in FUNCTION_WORDS or word in COMMAND_WORDS for word in words
    )


def is_english(query: str, english: English, *, has_typos: bool = False) -> bool:
    """Whether a query is English, or names that English queries can be made of.

    A query is foreign if most of its letters are of another script, or if few of its words are
    English and one is a usual word of another language or has letters that English lacks.

    Args:
        query: the query.
        english: the word list.
        has_typos: whether unknown words may be misspelt English ones.
    """
    letters = [c for c in query if c.isalpha()]
    if not letters:
        return True
    if sum(c < "\u0250" for c in letters) < len(letters) / 2:
        return False
    words = [word for word in plain_words(query) if not any(map(str.isdigit, word))]
    known = sum(english.is_common(word) or word in FUNCTION_WORDS for word in words)
    foreign = [word for word in words if word in ONLY_FOREIGN_WORDS]
    if known >= MIN_ENGLISH_SHARE * len(words) and len(foreign) <= known / 2:
        return True
    if foreign or not all(map(str.isascii, words)):
        return False
    if has_typos:
        return True
    is_misspelt = EnglishSpeller.load().is_misspelt
    unknown = sum(not (english.is_word(word) or is_misspelt(word)) for word in words)
    return unknown < max(2, len(words) / 2)
