"""Judges what answers keep of their queries, by rules of its own and not by the guards."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from t5eval.messages import Answer
from t5eval.stop_words import load_stop_words
from t5eval.text_metrics import find_rarest, mean
from t5serve.reformulation.text import fold, plain_words

NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
NEGATION = re.compile(
    r"\b(?:no(?!\.? ?\d+\b)|not|non|never|none|nor|neither|nobody|nothing|without|cannot"
    r"|(?:do|does|did|is|are|was|were|has|have|had|ca|could|wo|would|should|must|need|ai)n['\u2019]?t"
    r"|unable|impossible|except)\b|\w-free\b"
)
# Powers of units, as fold writes km² and m²; "macbook m2" and "mm2" are no units.
POWER = re.compile(
    r"\b(?:[kcd]m|ft|in)[23]\b|(?:(?<=\d)|(?<=\d )|(?<=\bin )|(?<=\bper )|(?<=/))m[23]\b"
)
MAX_EDITS = 2  # of a corrected word; -1 are more
MIN_LETTERS = 3  # of an invented word; shorter ones are abbreviations more often than not
MIN_NEGATION = 5  # letters; "gpt" is two edits away from "not"
Row = dict[str, Any]


@dataclass(frozen=True)
class Judge:
    """Decides by plain rules whether an answer kept something.

    Args:
        dictionary: English words and how often each occurs.
        corpus: The words of the texts that are measured on; they are not invented.
    """

    dictionary: Mapping[str, int]
    corpus: Collection[str] = ()
    stop_words: Collection[str] = field(default_factory=load_stop_words)

    def __post_init__(self) -> None:
        """Makes the stemmer, and what counts edits."""
        import Stemmer  # noqa: PLC0415 - of the extra
        from symspellpy import editdistance  # noqa: PLC0415 - of the extra

        edits = editdistance.EditDistance(editdistance.DistanceAlgorithm.DAMERAU_OSA)
        object.__setattr__(self, "_stemmer", Stemmer.Stemmer("english"))
        object.__setattr__(self, "_edits", edits)

    def content(self, query: str, answer: str) -> float | None:
        """Returns the share of the query's content words whose stems the answer has."""
        content = set(self._stems(word for word in plain_words(query) if self._is_content(word)))
        kept = content & set(self._stems(plain_words(answer)))
        return len(kept) / len(content) if content else None

    def rarest(self, query: str, answer: str) -> bool | None:
        """Whether the answer has the stem of the query's rarest content word without a digit.

        None if there is no such word, or if it is a typo that the answer corrects.
        """
        words = [word for word in plain_words(query) if not any(map(str.isdigit, word))]
        word = find_rarest(" ".join(words), self.dictionary, self.stop_words)
        if word is None:
            return None
        answered = plain_words(answer)
        is_kept = self._stems([word])[0] in self._stems(answered)
        return None if not is_kept and self._corrects(word, answered) else is_kept

    def _corrects(self, word: str, answered: Sequence[str]) -> bool:
        """Whether a word is in no dictionary, and one like it in the answer is."""
        if word in self.dictionary:
            return False
        compare = self._edits.compare  # type: ignore[attr-defined]
        return any(
            other in self.dictionary and compare(word, other, MAX_EDITS) >= 0 for other in answered
        )

    def numbers(self, query: str, answer: str) -> bool | None:
        """Whether the answer has all numbers that the query has in digits."""
        numbers = _find_numbers(query)
        return numbers <= _find_numbers(answer) if numbers else None

    def negation(self, query: str, answer: str, said: str = "") -> bool | None:
        """Whether the answer has a negation if the query has one, and none otherwise.

        None if there is nothing to judge: neither has one, the query has a typo of the one that the
        answer has, or it was taken back.

        Args:
            query: what is asked.
            answer: what the model wrote.
            said: all of the query's words, also those that were taken back.
        """
        found = set(NEGATION.findall(fold(answer)))
        if NEGATION.search(fold(query)):
            return bool(found)
        added = found.difference(NEGATION.findall(fold(said)))
        return None if all(self._is_typed(word, query) for word in added) else False

    def _is_typed(self, word: str, query: str) -> bool:
        """Whether the query has an unknown word that the answer corrects to this one."""
        return len(word) >= MIN_NEGATION and any(
            self._corrects(typed, [word]) for typed in plain_words(query)
        )

    def invents(self, query: str, answer: str) -> bool:
        """Whether the answer has a number or a word that is nowhere else."""
        if _find_numbers(answer).keys() - _find_numbers(query).keys():
            return True
        known = set(self._stems(plain_words(query)))
        return any(
            word.isalpha()
            and len(word) >= MIN_LETTERS
            and word not in self.dictionary
            and word not in self.corpus
            and self._stems([word])[0] not in known
            for word in plain_words(answer)
        )

    def _is_content(self, word: str) -> bool:
        return word not in self.stop_words

    def _stems(self, words: Any) -> list[str]:  # noqa: ANN401 - an iterable of texts
        stems: list[str] = self._stemmer.stemWords(list(words))  # type: ignore[attr-defined]
        return stems


def _find_numbers(text: str) -> Counter[str]:
    """Counts the numbers in digits; 10,000 is 10000, and km² has no number."""
    text = POWER.sub("", fold(text))
    return Counter(number.replace(",", "") for number in NUMBER.findall(text))


def judge_answers(
    queries: Sequence[str], answers: Sequence[Answer], judge: Judge, meant: Sequence[str]
) -> Row:
    """Returns the share of changed queries and, of the changed ones, what their answers keep.

    Several searches for one query are one answer: together they keep what one of them keeps.
    A query counts as changed if an answer differs by more than case and spaces.

    Args:
        queries: The queries as they were asked.
        answers: One for each query.
        judge: Compares what a query means with its answer.
        meant: What each query asks for: the query, unless it corrects itself ("in Paris, no wait,
            in Lyon").
    """
    whole = [" ; ".join(answer.texts) for answer in answers]
    changed = [
        (query, meaning, text)
        for query, meaning, text in zip(queries, meant, whole, strict=True)
        if fold(query) != fold(text)
    ]
    reasons = Counter(
        _reason(answer)
        for query, answer, text in zip(queries, answers, whole, strict=True)
        if fold(query) == fold(text)
    )
    row: Row = {
        "queries": len(queries),
        "changed": len(changed) / len(queries),
        "unchanged": {reason: count / len(queries) for reason, count in reasons.most_common()},
        "invented": mean(judge.invents(query, text) for query, _, text in changed),
    }
    judgements: dict[str, list[float | None]] = {
        "content": [judge.content(meaning, text) for _, meaning, text in changed],
        "rarest": [judge.rarest(meaning, text) for _, meaning, text in changed],
        "numbers": [judge.numbers(meaning, text) for _, meaning, text in changed],
        "negation": [judge.negation(meaning, text, query) for query, meaning, text in changed],
    }
    for name, judged in judgements.items():
        values = [value for value in judged if value is not None]
        row[name] = mean(values)
        row[f"{name} judged"] = len(values)
    return row


def terms_kept(terms: Sequence[str], answers: Sequence[Answer]) -> float | None:
    """Returns the share of all answers that have the caller's term."""
    return mean(
        term in plain_words(text)
        for term, answer in zip(terms, answers, strict=True)
        for text in answer.texts
    )


def draw_terms(queries: Sequence[str], seed: int) -> list[str]:
    """Returns a random content word of each query, as a caller's term."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    stop_words = load_stop_words()
    terms = []
    for query in queries:
        words = plain_words(query)
        terms.append(rng.choice([word for word in words if word not in stop_words] or words))
    return terms


def _reason(answer: Answer) -> str:
    if answer.fell_back:
        return "nothing usable"
    return answer.unchanged_reason or "already_good"
