"""Converts text to token ids and back, with the vocabulary that llama.cpp read from the file."""

from __future__ import annotations

import codecs
import ctypes
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from t5engine.tokenization.added_tokens import AddedFlag, AddedToken, Splitter
from t5engine.tokenization.cleanup import clean_up, clean_up_begun, divide
from t5engine.tokenization.metadata import read_pipeline
from t5engine.tokenization.tokenizer import SPACE, Pipeline, Tokenizer
from t5engine.tokenization.unigram import Piece

SENTINEL = "<extra_id_"
OTHER_WHITESPACE = re.compile(r"[^\S ]")
CHARSMAP = "tokenizer.ggml.precompiled_charsmap"


class Vocabulary:
    """The vocabulary of a loaded model.

    Attributes:
        size: number of ids.
        eos: id of `</s>`.
        suppressed: ids that are never generated: padding, `<unk>`, sentinels, unused rows.
        cleans_up_spaces: whether spaces before punctuation are removed from answers.
    """

    def __init__(self, model: Any, size: int, metadata: Mapping[str, Any]) -> None:  # noqa: ANN401 - an opaque pointer
        """Reads the vocabulary.

        Args:
            model: pointer to a llama_model that outlives the vocabulary.
            size: number of ids.
            metadata: the header of the model's file.

        Raises:
            ValueError: the header contradicts itself.
        """
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self.size = size
        self.eos = int(llama_cpp.llama_vocab_eos(self._vocab))
        self._unknown = int(metadata.get("tokenizer.ggml.unknown_token_id", 2))
        attributes = [self._read_attributes(token) for token in range(size)]
        self.suppressed = self._find_suppressed(attributes)
        # Without t5serve's keys, added tokens are the user-defined ones, as for llama.cpp.
        self._pipeline = read_pipeline(metadata) or Pipeline(
            added=tuple(
                AddedToken(token, self._stored_text(token).decode(errors="replace"))
                for token in range(size)
                if attributes[token] & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
            )
        )
        self.cleans_up_spaces = self._pipeline.cleans_up_spaces
        self._added = {token.id for token in self._pipeline.added}
        self._hidden = self._find_hidden(attributes)
        # Normalisation could turn other characters into such a token.
        self._has_normalized = any(AddedFlag.NORMALIZED in t.flags for t in self._pipeline.added)
        self._splitter = Splitter(self._pipeline.added)
        self._charsmap = bytes(metadata.get(CHARSMAP, b""))
        self._has_bytes = any(a & llama_cpp.LLAMA_TOKEN_ATTR_BYTE for a in attributes)
        self._is_plain = self._check_plain(attributes)
        self._pieces: dict[int, bytes] = {}
        if not self._is_plain or any(SENTINEL not in token.text for token in self._pipeline.added):
            _ = self._tokenizer  # built now, so that the first query need not wait

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text, `</s>` last.

        `</s>`, `<pad>` and `<unk>` in the text are encoded as text, so that a client can't create
        control tokens. Sentinels (`<extra_id_0>`) become sentinel tokens if the model has them.
        """
        if self._is_plain and not self._needs_own_tokenizer(text):
            ids = self._encode_by_llama(text)
            if not self._has_bytes or self._unknown not in ids:
                return ids
        return [*self._tokenizer.encode(text), self.eos]

    def _needs_own_tokenizer(self, text: str) -> bool:
        """Whether llama.cpp's tokenizer would split a text differently from the checkpoint's."""
        return (
            self._splitter.is_in(text)
            or (self._has_normalized and not text.isascii())
            or (self._pipeline.splits_words and OTHER_WHITESPACE.search(text) is not None)
        )

    def _encode_by_llama(self, text: str) -> list[int]:
        raw = text.encode()
        add_special, parse_special = True, False
        capacity = len(raw) + 2
        while True:
            buffer = (ctypes.c_int32 * capacity)()
            count = llama_cpp.llama_tokenize(
                self._vocab, raw, len(raw), buffer, capacity, add_special, parse_special
            )
            if count >= 0:
                break
            capacity = -count  # some characters are normalised to many: U+FDFA to 18
        return buffer[:count]

    def decode(self, ids: Sequence[int], *, final: bool = True) -> str:
        """Returns the text of ids as SentencePiece joins them, without the leading space.

        An incomplete character at the end becomes U+FFFD if the ids are final, else it is omitted.
        Spaces that the clean-up may still remove are omitted too.
        """
        text = "".join(self.decode_each(ids, final=final))
        if self.cleans_up_spaces:
            return clean_up(text) if final else clean_up_begun(text)
        return text

    def decode_all(self, ids: Sequence[int]) -> str:
        """Returns the text of ids without any clean-up."""
        return "".join(self.decode_each(ids))

    def decode_parts(self, ids: Sequence[int], *, final: bool = True) -> list[str]:
        """Returns the part of an answer's text that each id adds.

        Joined, they are the text of `decode`. If the ids are not final, ids at the end may have no
        part yet.
        """
        parts = self.decode_each(ids, final=final)
        if not final and parts and self.decode_each(ids)[-1] != parts[-1]:
            parts.pop()  # the last token's text depends on whether the sequence ends with it
        if self.cleans_up_spaces:
            return divide(self.decode(ids, final=final), parts, final=final)
        return parts

    def decode_each(
        self, ids: Sequence[int], *, final: bool = True, shows_special: bool = False
    ) -> list[str]:
        """Returns the text of each id, without any clean-up; joined, they are the text of all ids.

        `</s>` has no text; other special tokens have one if `shows_special`.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        texts: list[str] = []
        hidden = {self.eos} if shows_special else self._hidden
        last: str | None = None
        was_added = False
        for count, token in enumerate(ids, 1):
            raw = b"" if token in hidden else self._piece(token)
            text = decoder.decode(raw, final and count == len(ids)).replace(SPACE, " ")
            is_added = token in self._added
            if not text:
                texts.append("")
                continue
            if last is None:
                text = self._strip_first(text)
                if not text and self._pipeline.joins_added:
                    texts.append("")
                    continue
            elif self._pipeline.joins_added and (is_added or was_added):
                has_space = not last or last.endswith(" ") or text.startswith(" ")
                text = text if has_space else f" {text}"
            last, was_added = text, is_added
            texts.append(text)
        return texts

    def find_piece(self, text: str) -> int | None:
        """Returns the id of the token with this stored text; None: there is none."""
        return self._ids_by_piece.get(text)

    @cached_property
    def _ids_by_piece(self) -> dict[str, int]:
        pieces = (self._stored_text(token).decode(errors="replace") for token in range(self.size))
        return {piece: token for token, piece in enumerate(pieces)}

    def list_shown_pieces(self) -> list[str]:
        """Returns the stored texts of the tokens that are generated and appear in answers."""
        hidden = self._hidden.union(self.suppressed.tolist())
        return [
            self._stored_text(token).decode(errors="replace")
            for token in range(self.size)
            if token not in hidden
        ]

    def decode_token(self, token: int, *, is_first: bool) -> str:
        """Returns the text that a token would add to a sequence, as its first or a later token.

        The token's text is cleaned up without its neighbours.
        """
        if token in self._hidden and token != self.eos:
            return ""
        text = self._piece(token).decode(errors="replace").replace(SPACE, " ")
        text = self._strip_first(text) if is_first else text
        return clean_up(text) if self.cleans_up_spaces else text

    def _strip_first(self, text: str) -> str:
        """Returns the text of the first token that has one, without the space before it."""
        if self._pipeline.keeps_first_space:
            return text
        return text.lstrip(" ") if self._pipeline.joins_added else text.removeprefix(" ")

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """The tokenizer for texts that llama.cpp's tokenizer would split differently."""
        text_attributes = (
            llama_cpp.LLAMA_TOKEN_ATTR_NORMAL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
        )
        pieces = []
        byte_ids = []
        for token in range(self.size):
            attributes = self._read_attributes(token)
            if attributes & llama_cpp.LLAMA_TOKEN_ATTR_BYTE:
                byte_ids.append(token)
            elif attributes & text_attributes:
                text = self._stored_text(token).decode(errors="replace")
                score = float(llama_cpp.llama_vocab_get_score(self._vocab, token))
                user_defined = bool(attributes & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED)
                pieces.append(Piece(token, text, score, user_defined))
        byte_ids = byte_ids if len(byte_ids) == 256 else []
        return Tokenizer(pieces, self._unknown, byte_ids, self._charsmap, self._pipeline)

    def _piece(self, token: int) -> bytes:
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._stored_text(token)
            if self._read_attributes(token) & llama_cpp.LLAMA_TOKEN_ATTR_BYTE:
                piece = bytes([int(piece[3:5], 16)])  # <0xE2>
            self._pieces[token] = piece
        return piece

    def _stored_text(self, token: int) -> bytes:
        return bytes(llama_cpp.llama_vocab_get_text(self._vocab, token))

    def _read_attributes(self, token: int) -> int:
        return int(llama_cpp.llama_vocab_get_attr(self._vocab, token))

    def _check_plain(self, attributes: Sequence[int]) -> bool:
        """Whether llama.cpp segments texts without added tokens as the file's tokenizer does."""
        pipeline = self._pipeline
        has_symbols = any(
            attribute & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED and token not in self._added
            for token, attribute in enumerate(attributes)
        )
        spaces = pipeline.merges_spaces, pipeline.strips_end
        return pipeline.prepend_scheme != "never" and spaces == (True, True) and not has_symbols

    def _find_suppressed(self, attributes: Sequence[int]) -> npt.NDArray[np.intp]:
        text_attributes = (
            llama_cpp.LLAMA_TOKEN_ATTR_NORMAL
            | llama_cpp.LLAMA_TOKEN_ATTR_BYTE
            | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
            | llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
        )
        padding = int(llama_cpp.llama_vocab_pad(self._vocab))
        return np.array(
            [
                token
                for token, attribute in enumerate(attributes)
                if token != self.eos
                and (
                    token == padding
                    or not attribute & text_attributes
                    or SENTINEL.encode() in self._stored_text(token)
                )
            ],
            np.intp,
        )

    def _find_hidden(self, attributes: Sequence[int]) -> frozenset[int]:
        """Returns the ids that have no text: control tokens, and special ones that were added."""
        special = {token.id for token in self._pipeline.added if AddedFlag.SPECIAL in token.flags}
        control = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
        return frozenset(
            token
            for token, attribute in enumerate(attributes)
            if token in (self.eos, self._unknown)
            or (token in special and SENTINEL.encode() not in self._stored_text(token))
            or (attribute & control and SENTINEL.encode() not in self._stored_text(token))
        )
