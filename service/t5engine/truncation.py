"""Shortens inputs that have too many tokens, within the range that a `Cut` allows."""

from __future__ import annotations

import bisect
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec

from t5engine.messages import Cut

CHARACTERS_PER_TOKEN = 16  # four times the average of English: text beyond is dropped unread
LONGEST_PIECE = 64  # characters
SPARE_PIECES = 2  # the tokenizer can join what stands around the range with its text
BLANKS = re.compile(r"\s{2,}")


class TruncationError(ValueError):
    """The range is not in the text, or (`too_long`) the text is too long without the range."""

    def __init__(self, message: str, *, too_long: bool = False) -> None:
        super().__init__(message)
        self.too_long = too_long


@dataclass(frozen=True)
class Truncator:
    """Shortens texts for one vocabulary.

    A text loses whole pieces, and the tokens of the text that is left are counted together. So
    the ids are those of a shorter text, whatever the tokenizer does at the ends of the range.

    Attributes:
        encode: returns the ids of a text, `</s>` last.
        decode: returns the text of ids.
        limit: the most ids of an input.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    limit: int

    def shorten(self, text: str, cut: Cut) -> list[int]:
        """Returns the ids of a text, which is shortened in the cut's range until they fit.

        A cut at a break is preferred. Otherwise the range keeps as many pieces as fit.

        Raises:
            TruncationError: the range is not in the text, or the text is too long without it.
        """
        parts = _Parts(text, check_cut(text, cut))
        size = min(len(parts.middle), CHARACTERS_PER_TOKEN * self.limit)
        if self._fits(ids := self.encode(parts.keep(size))):
            return ids
        overhead = len(self.encode(parts.keep(0)))
        if overhead > self.limit:
            raise TruncationError(
                f"the input has {overhead} tokens without the text that may be cut, at most"
                f" {self.limit} are allowed",
                too_long=True,
            )
        for kept in parts.breaks:
            if kept <= size and self._fits(ids := self.encode(parts.keep(kept))):
                return ids
        return self._cut_at_pieces(parts, size, self.limit - overhead)

    def _cut_at_pieces(self, parts: _Parts, size: int, count: int) -> list[int]:
        """Cuts the range at the end of a piece.

        Args:
            parts: the text.
            size: characters of the range, more than fit.
            count: pieces of the range that fit, by an estimate.
        """
        pieces = self.encode(parts.take(size))[:-1]
        count += SPARE_PIECES
        while count > 0:
            kept = parts.measure(size, self.decode(parts.select(pieces, count)))
            if kept is None:
                return self._cut_at_characters(parts, size, pieces)
            ids = self.encode(parts.keep(kept))
            if self._fits(ids):
                return ids
            count -= max(1, len(ids) - self.limit - 1)
        return self.encode(parts.keep(0))

    def _cut_at_characters(self, parts: _Parts, size: int, pieces: Sequence[int]) -> list[int]:
        """Cuts a range whose pieces do not spell its text: characters were mapped or unknown."""

        def overflows(kept: int) -> bool:
            return not self._fits(self.encode(parts.keep(kept)))

        fitting = bisect.bisect_left(range(1, size + 1), x=True, key=overflows)
        for kept in range(fitting, max(0, fitting - LONGEST_PIECE), -1):
            head = self.encode(parts.head(size, kept))[:-1]
            if list(pieces[: len(head)]) == head and not overflows(kept):
                return self.encode(parts.keep(kept))
        return self.encode(parts.keep(fitting))

    def _fits(self, ids: Sequence[int]) -> bool:
        return len(ids) <= self.limit


class _Parts:
    """A text before, in and after the range of a cut.

    Attributes:
        middle: the text of the range.
    """

    def __init__(self, text: str, cut: Cut) -> None:
        self._before, self._after = text[: cut.start], text[cut.end :]
        self.middle = text[cut.start : cut.end]
        self._cut = cut
        self._is_left = cut.side == "left"

    @cached_property
    def breaks(self) -> list[int]:
        """How many characters of the range are kept by a cut at each break, the most first."""
        start, end = self._cut.start, self._cut.end
        kept = (end - at if self._is_left else at - start for at in self._cut.breaks)
        return sorted(kept, reverse=True)

    def take(self, size: int) -> str:
        """Returns the part of the range that stays if so many characters are kept."""
        return self.middle[len(self.middle) - size :] if self._is_left else self.middle[:size]

    def keep(self, size: int) -> str:
        """Returns the text with so many characters of the range."""
        return self._before + self.take(size) + self._after

    def head(self, size: int, kept: int) -> str:
        """Returns the text before the cut, if of `size` characters of the range `kept` stay."""
        return self.take(size)[: size - kept if self._is_left else kept]

    def select(self, pieces: Sequence[int], count: int) -> Sequence[int]:
        """Returns `count` pieces of the range: those that a cut drops last."""
        return pieces[max(0, len(pieces) - count) :] if self._is_left else pieces[:count]

    def measure(self, size: int, kept: str) -> int | None:
        """Returns how many of `size` characters of the range spell a text, blanks aside.

        Returns:
            None: they are another text.
        """
        text = self.take(size)
        if self._is_left:
            return _match(map(_normalize_reversed, reversed(text)), kept[::-1])
        return _match(map(_normalize, text), kept)


def check_cut(text: str, cut: Cut) -> Cut:
    """Returns the cut.

    Raises:
        TruncationError: its range is not in the text, or a break is not in the range.
    """
    if not 0 <= cut.start <= cut.end <= len(text):
        raise TruncationError(
            f"the cut is from {cut.start} to {cut.end}, but the text has {len(text)} characters"
        )
    if outside := [at for at in cut.breaks if not cut.start <= at <= cut.end]:
        raise TruncationError(f"the break {outside[0]} is not in {cut.start} to {cut.end}")
    return cut


def trim(text: str, cut: Cut, max_tokens: int) -> tuple[str, Cut]:
    """Returns a text without what `Truncator.shorten` would not read, and the cut of that text.

    Runs of blanks in a long range become one blank, as in the tokenizer.

    Args:
        text: the text.
        cut: its cut.
        max_tokens: the most tokens of an input.

    Raises:
        TruncationError: the cut does not belong to the text.
    """
    parts = _Parts(text, check_cut(text, cut))
    limit = CHARACTERS_PER_TOKEN * max_tokens
    if len(parts.middle) <= limit:
        return text, cut
    edges = [cut.start, *sorted(cut.breaks), cut.end]
    pieces = [BLANKS.sub(" ", text[a:b]) for a, b in itertools.pairwise(edges)]
    ends = list(itertools.accumulate(map(len, pieces), initial=cut.start))
    squeezed = text[: cut.start] + "".join(pieces) + text[cut.end :]
    cut = msgspec.structs.replace(cut, end=ends[-1], breaks=ends[1:-1])
    parts = _Parts(squeezed, cut)
    kept = min(limit, len(parts.middle))
    dropped = len(parts.middle) - kept
    shift = dropped if cut.side == "left" else 0
    end = cut.start + kept
    breaks = [at - shift for at in cut.breaks if cut.start <= at - shift <= end]
    return parts.keep(kept), msgspec.structs.replace(cut, end=end, breaks=breaks)


def _match(groups: Iterable[str], text: str) -> int | None:
    """Returns how many groups of characters spell a text, blanks aside; None: they do not."""
    expected = _without_blanks(text)
    following = next(expected, None)
    count = -1
    for count, group in enumerate(groups):
        for character in _without_blanks(group):
            if following is None:
                return count
            if character != following:
                return None
            following = next(expected, None)
    return count + 1 if following is None else None


def _without_blanks(text: str) -> Iterator[str]:
    return (character for character in text if not character.isspace())


def _normalize(character: str) -> str:
    return unicodedata.normalize("NFKC", character)


def _normalize_reversed(character: str) -> str:
    return _normalize(character)[::-1]
