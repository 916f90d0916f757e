"""The words of a collection, with how often each occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from t5serve.errors import StartupError
from t5serve.reformulation.text import plain_words


class Lexicon:
    """Words that are spelled rightly, whatever they look like.

    Args:
        counts: occurrences by folded word.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = counts

    def __contains__(self, word: object) -> bool:
        return word in self.counts

    def __len__(self) -> int:
        return len(self.counts)

    def count_known(self, words: Iterable[str]) -> Counter[str]:
        """Counts those of the folded words that the lexicon has."""
        return Counter(word for word in words if word in self.counts)

    @classmethod
    def read(cls, path: Path, source: str = "T5SERVE_LEXICON") -> Self:
        """Reads a file of lines "word<TAB>count"; the count may be left out.

        Args:
            path: the file.
            source: what names the file, for errors.

        Raises:
            StartupError: the file can't be read, or a line is malformed.
        """
        counts: dict[str, int] = {}
        try:
            lines = path.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise StartupError(f"{source}: {path} can't be read: {reason}") from error
        for number, line in enumerate(lines, 1):
            word, _, count = line.partition("\t")
            if not word.strip():
                continue
            if count.strip() and not count.strip().isdecimal():
                raise StartupError(
                    f"{source}: {path}, line {number}: expected a word, a tab and a count"
                )
            for part in plain_words(word):
                counts[part] = counts.get(part, 0) + int(count or 1)
        return cls(counts)


EMPTY = Lexicon({})
