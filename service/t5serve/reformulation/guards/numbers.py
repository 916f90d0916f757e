"""Numbers: none lost, none invented."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from t5serve.reformulation.guards.analysed_text import AnalysedText

NUMBER = re.compile(r"(?<!\b[ckm]m)\d+(?:[.,:/]\d+)*")  # but not of "km2", a unit
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
FRACTION = str.maketrans("\u2044", "/")  # the slash that NFKC puts into a vulgar fraction


class Numbers:
    """Keeps every number of the query as often as the query has it."""

    def __init__(self, query: AnalysedText) -> None:
        self._numbers = count_numbers(query.text)

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a candidate lost a number."""
        return bool(self._numbers) and not self._numbers <= count_numbers(candidate.text)


def count_numbers(text: str) -> Counter[str]:
    """Counts the numbers of a text; thousands separators do not matter."""
    normal = unicodedata.normalize("NFKC", text).translate(FRACTION)
    return Counter(NUMBER.findall(THOUSANDS.sub("", normal)))
