"""The whole way from a text to token ids: added tokens, normalisation, prefix, pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from t5engine.tokenization.added_tokens import AddedFlag, AddedToken, Splitter
from t5engine.tokenization.charsmap import Charsmap
from t5engine.tokenization.unigram import Piece, Unigram

SPACE = "\u2581"  # SentencePiece's character for a space


@dataclass(frozen=True)
class Pipeline:
    """What a tokenizer does besides segmenting into pieces.

    Attributes:
        prepend_scheme: Hugging Face's name for what gets a space before it: "always" each text
            between added tokens, "first" the one that begins the input, "never" none.
        keeps_space: whether a text beside an added token keeps the space there.
        joins_added: whether generated added tokens are set off by spaces, and answers begin without
            one, as Hugging Face's slow tokenizers do.
        keeps_first_space: whether an answer keeps the space of its first token.
        cleans_up_spaces: whether answers are without the spaces before punctuation.
        merges_spaces: whether several spaces become one.
        splits_words: whether all whitespace is a space; else only what the character map says.
        strips_end: whether spaces at the end of a text are left out.
        added: the added tokens.
    """

    prepend_scheme: str = "always"
    keeps_space: bool = False
    joins_added: bool = False
    keeps_first_space: bool = False
    cleans_up_spaces: bool = False
    merges_spaces: bool = True
    strips_end: bool = True
    splits_words: bool = False
    added: tuple[AddedToken, ...] = ()


class Tokenizer:
    """Encodes texts as Hugging Face's tokenizers do it with a SentencePiece Unigram model.

    Args:
        pieces: the vocabulary's ordinary and user-defined pieces.
        unknown_id: the id of unknown characters.
        byte_ids: the ids of the 256 bytes; empty without byte fallback.
        charsmap: SentencePiece's precompiled character map.
        pipeline: what happens besides.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        unknown_id: int,
        byte_ids: Sequence[int],
        charsmap: bytes,
        pipeline: Pipeline,
    ) -> None:
        self._pipeline = pipeline
        self._charsmap = Charsmap(charsmap)
        # Added tokens are cut out of the text before it is segmented.
        added = {token.text for token in pipeline.added}
        self._unigram = Unigram(
            (piece for piece in pieces if piece.text not in added), unknown_id, byte_ids
        )
        symbols = [p.text for p in pieces if p.is_user_defined and p.text not in added]
        longest_first = sorted(symbols, key=len, reverse=True)
        self._symbols = re.compile("|".join(map(re.escape, longest_first))) if symbols else None
        normalized = AddedFlag.NORMALIZED
        self._raw = Splitter([token for token in pipeline.added if normalized not in token.flags])
        self._normalized = Splitter(
            [
                replace(token, text=text)
                for token in pipeline.added
                if normalized in token.flags and (text := self._normalize(token.text))
            ]
        )

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without the closing `</s>`."""
        ids: list[int] = []
        for start, part in self._raw.split(text):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._encode_part(part, begins_text=start == 0)
        return ids

    def _encode_part(self, text: str, *, begins_text: bool) -> Iterator[int]:
        for start, part in self._normalized.split(self._normalize(text)):
            if isinstance(part, int):
                yield part
            else:
                yield from self._unigram.encode(
                    self._prepend_space(part, begins_text=begins_text and start == 0)
                )

    def _prepend_space(self, text: str, *, begins_text: bool) -> str:
        """Returns a normalised text with U+2581 for spaces, the one before it included."""
        pipeline = self._pipeline
        scheme = pipeline.prepend_scheme
        has_prefix = scheme == "always" or (scheme == "first" and begins_text)
        if pipeline.keeps_space:
            has_prefix &= not text.startswith(" ")
        elif pipeline.merges_spaces:
            has_prefix |= scheme == "first" and text.startswith(" ")
            text = text.strip(" ")
        if not text:
            return ""
        return (" " * has_prefix + text).replace(" ", SPACE)

    def _normalize(self, text: str) -> str:
        """Returns a text with its characters mapped, and its spaces merged."""
        normalized = "".join(self._map_characters(text))
        if self._pipeline.splits_words:
            normalized = re.sub(r"\s", " ", normalized)
        if self._pipeline.strips_end:
            normalized = normalized.rstrip(" ")
        return re.sub(" {2,}", " ", normalized) if self._pipeline.merges_spaces else normalized

    def _map_characters(self, text: str) -> Iterator[str]:
        """Yields the text with its characters mapped; user-defined pieces stay as they are."""
        start = 0
        for match in self._symbols.finditer(text) if self._symbols else ():
            yield from self._charsmap.apply(text[start : match.start()])
            yield match.group()
            start = match.end()
        yield from self._charsmap.apply(text[start:])
