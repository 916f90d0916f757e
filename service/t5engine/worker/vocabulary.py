"""Converts text to token ids and back, with the vocabulary that llama.cpp read from the file."""

from __future__ import annotations

import codecs
import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

SPACE = "\u2581"  # SentencePiece's character for a space
SENTINEL = "<extra_id_"


class Vocabulary:
    """The vocabulary of a loaded model.

    Attributes:
        size: number of ids.
        eos: id of `</s>`.
        suppressed: ids that are never generated: those that are not text, `</s>` excepted.
    """

    def __init__(self, model: Any, size: int) -> None:  # noqa: ANN401 - an opaque pointer
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self.size = size
        self.eos = int(llama_cpp.llama_vocab_eos(self._vocab))
        self.suppressed = self._find_suppressed()
        self._pieces: dict[int, bytes] = {}

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text, `</s>` last.

        `</s>`, `<pad>` and `<unk>` in the text are encoded as text, so that a client can't create
        control tokens. Sentinels (`<extra_id_0>`) become sentinel tokens if the model has them.
        """
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
        """
        return "".join(self.decode_each(ids, final=final))

    def decode_each(self, ids: Sequence[int], *, final: bool = True) -> list[str]:
        """Returns the text of each id. Joined, they are the text of all ids. `</s>` has no text."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        texts = []
        has_text = False
        for count, token in enumerate(ids, 1):
            raw = b"" if token == self.eos else self._piece(token)
            text = decoder.decode(raw, final and count == len(ids)).replace(SPACE, " ")
            texts.append(text if has_text else text.removeprefix(" "))
            has_text = has_text or bool(text)
        return texts

    def decode_token(self, token: int, *, is_first: bool) -> str:
        """Returns the text that a token would add to a sequence, as its first or a later token."""
        text = self._piece(token).decode(errors="replace").replace(SPACE, " ")
        return text.removeprefix(" ") if is_first else text

    def _piece(self, token: int) -> bytes:
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._stored_text(token)
            if self._attributes(token) & llama_cpp.LLAMA_TOKEN_ATTR_BYTE:
                piece = bytes([int(piece[3:5], 16)])  # <0xE2>
            self._pieces[token] = piece
        return piece

    def _stored_text(self, token: int) -> bytes:
        return bytes(llama_cpp.llama_vocab_get_text(self._vocab, token))

    def _attributes(self, token: int) -> int:
        return int(llama_cpp.llama_vocab_get_attr(self._vocab, token))

    def _find_suppressed(self) -> npt.NDArray[np.intp]:
        text_attributes = llama_cpp.LLAMA_TOKEN_ATTR_NORMAL | llama_cpp.LLAMA_TOKEN_ATTR_BYTE
        return np.array(
            [
                token
                for token in range(self.size)
                if token != self.eos
                and (
                    not self._attributes(token) & text_attributes
                    or SENTINEL.encode() in self._stored_text(token)
                )
            ],
            np.intp,
        )
