"""Text to token ids and back, through the vocabulary that llama.cpp read from the file."""

from __future__ import annotations

import codecs
import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

SPACE = "\u2581"  # how SentencePiece writes a space
SENTINEL = "<extra_id_"


class Vocabulary:
    """The vocabulary of a loaded model.

    Attributes:
        size: number of ids.
        eos: id of `</s>`.
        suppressed: ids that never come out: all but `</s>` that are not text.
    """

    def __init__(self, model: Any, size: int) -> None:  # noqa: ANN401 - an opaque pointer
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self.size = size
        self.eos = int(llama_cpp.llama_vocab_eos(self._vocab))
        self.suppressed = self._find_suppressed()
        self._pieces: dict[int, bytes] = {}

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, `</s>` last.

        `</s>`, `<pad>` and `<unk>` written in the text are text: a client can't make control
        tokens. Sentinels (`<extra_id_0>`) are taken as such where the model has them.
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
        """The text of ids as SentencePiece joins them, without the leading space.

        A character that is not whole is replaced at the end of all ids, and left out before.
        """
        return "".join(self.texts(ids, final=final))

    def texts(self, ids: Sequence[int], *, final: bool = True) -> list[str]:
        """The text of each id; joined, that of all. `</s>` has none."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        texts = []
        begun = False
        for place, token in enumerate(ids, 1):
            raw = b"" if token == self.eos else self._piece(token)
            text = decoder.decode(raw, final and place == len(ids)).replace(SPACE, " ")
            texts.append(text if begun else text.removeprefix(" "))
            begun = begun or bool(text)
        return texts

    def text(self, token: int, *, first: bool) -> str:
        """What a token would add to a text, were it its first or a later one."""
        text = self._piece(token).decode(errors="replace").replace(SPACE, " ")
        return text.removeprefix(" ") if first else text

    def _piece(self, token: int) -> bytes:
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._text(token)
            if self._attributes(token) & llama_cpp.LLAMA_TOKEN_ATTR_BYTE:
                piece = bytes([int(piece[3:5], 16)])  # <0xE2>
            self._pieces[token] = piece
        return piece

    def _text(self, token: int) -> bytes:
        return bytes(llama_cpp.llama_vocab_get_text(self._vocab, token))

    def _attributes(self, token: int) -> int:
        return int(llama_cpp.llama_vocab_get_attr(self._vocab, token))

    def _find_suppressed(self) -> npt.NDArray[np.intp]:
        text = llama_cpp.LLAMA_TOKEN_ATTR_NORMAL | llama_cpp.LLAMA_TOKEN_ATTR_BYTE
        return np.array(
            [
                token
                for token in range(self.size)
                if token != self.eos
                and (not self._attributes(token) & text or SENTINEL.encode() in self._text(token))
            ],
            np.intp,
        )
