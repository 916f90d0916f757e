"""Segments normalised texts into the pieces of a Unigram model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

UNKNOWN_PENALTY = 10.0  # SentencePiece's kUnkPenalty
USER_DEFINED_PENALTY = 0.1  # unigram_model.cc, EncodeOptimized


@dataclass(frozen=True)
class Piece:
    """A piece of the vocabulary.

    Attributes:
        is_user_defined: the piece is taken wherever it occurs.
    """

    id: int
    text: str
    score: float
    is_user_defined: bool = False


class Unigram:
    """Finds the segmentation with the best sum of scores, as SentencePiece does.

    Args:
        pieces: the ordinary and the user-defined pieces.
        unknown_id: the id of characters that no piece has.
        byte_ids: 256 ids that spell an unknown character; empty without byte fallback.
    """

    def __init__(
        self, pieces: Iterable[Piece], unknown_id: int, byte_ids: Sequence[int] = ()
    ) -> None:
        self._unknown_id = unknown_id
        self._byte_ids = byte_ids
        pieces = list(pieces)
        normal = [piece.score for piece in pieces if not piece.is_user_defined] or [0.0]
        self._unknown_score = min(normal) - UNKNOWN_PENALTY
        self._scores: dict[str, tuple[int, float]] = {}
        self._longest: dict[str, int] = {}
        """The length of the longest piece by first character."""
        for piece in pieces:
            score = piece.score
            if piece.is_user_defined:
                score = len(piece.text.encode()) * max(normal) - USER_DEFINED_PENALTY
            self._scores[piece.text] = piece.id, score
            first = piece.text[:1]
            self._longest[first] = max(self._longest.get(first, 0), len(piece.text))

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text that is normalised and has U+2581 for spaces."""
        ids: list[int] = []
        unknown = ""
        for piece_id, piece in self._segment(text):
            if piece_id is None:
                unknown += piece
                continue
            ids += self._spell(unknown)
            unknown = ""
            ids.append(piece_id)
        return ids + self._spell(unknown)

    def _segment(self, text: str) -> Iterable[tuple[int | None, str]]:
        """Returns each piece of the best segmentation with its id, None for an unknown one."""
        scores = [0.0, *[-inf] * len(text)]
        pieces: list[tuple[int, int | None]] = [(0, None)] * (len(text) + 1)
        lookup = self._scores.get
        for start, first in enumerate(text):
            score = scores[start]
            unknown_score: float = score + self._unknown_score
            for end in range(start + 1, min(start + self._longest.get(first, 0), len(text)) + 1):
                found = lookup(text[start:end])
                if found is None:
                    continue
                if end == start + 1:
                    unknown_score = -inf  # the character is known
                if score + found[1] > scores[end]:
                    scores[end] = score + found[1]
                    pieces[end] = start, found[0]
            if unknown_score > scores[start + 1]:
                scores[start + 1] = unknown_score
                pieces[start + 1] = start, None
        segmentation = []
        end = len(text)
        while end:
            start, piece_id = pieces[end]
            segmentation.append((piece_id, text[start:end]))
            end = start
        return reversed(segmentation)

    def _spell(self, text: str) -> list[int]:
        """Returns the ids of adjacent unknown characters."""
        if text and self._byte_ids:
            return [self._byte_ids[byte] for byte in text.encode()]
        return [self._unknown_id] if text else []
