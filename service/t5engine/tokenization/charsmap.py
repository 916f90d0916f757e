"""SentencePiece's precompiled character map: which characters become which."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

VALUE_BITS = 0x7FFFFFFF
LABEL_BITS = 0x800000FF


class Charsmap:
    """A trie of byte sequences, each with its replacement.

    The trie is a double array of darts-clone, followed by the replacements, each ended by a zero
    byte. Source: sentencepiece, src/normalizer.cc; darts-clone, include/darts.h.

    Args:
        blob: `precompiled_charsmap` of a SentencePiece model; empty means that nothing changes.

    Raises:
        ValueError: the blob is not a character map.
    """

    def __init__(self, blob: bytes) -> None:
        self._units: list[int] = []
        self._replacements = b""
        if not blob:
            return
        if len(blob) < 4:
            raise ValueError("the character map ends early")
        (size,) = struct.unpack_from("<I", blob)
        if size % 4 or not 4 <= size <= len(blob) - 4:
            raise ValueError("the character map's trie does not fit into it")
        self._units = np.frombuffer(blob, "<u4", size // 4, 4).tolist()
        self._replacements = blob[4 + size :]

    def apply(self, text: str) -> Iterator[str]:
        """Yields the replacement of each mapped character sequence, and other characters."""
        data = text.encode()
        start = 0
        while start < len(data):
            end, replacement = self._find_longest(data, start)
            if replacement is None:
                end = start + _count_bytes(data[start])
                yield data[start:end].decode()
            else:
                yield replacement
            start = end

    def _find_longest(self, data: bytes, start: int) -> tuple[int, str | None]:
        """Returns the end and the replacement of the longest sequence at `start`."""
        end, replacement = start, None
        units = self._units
        if not units:
            return end, None
        node = _offset(units[0])
        for index in range(start, len(data)):
            node ^= data[index]
            unit = units[node] if node < len(units) else 0
            if unit & LABEL_BITS != data[index]:
                break
            node ^= _offset(unit)
            if unit >> 8 & 1 and node < len(units):
                end, replacement = index + 1, self._read(units[node] & VALUE_BITS)
        return end, replacement

    def _read(self, start: int) -> str:
        end = self._replacements.find(b"\0", start)
        return self._replacements[start : None if end < 0 else end].decode(errors="replace")


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)


def _count_bytes(lead: int) -> int:
    """Returns the bytes of the UTF-8 character that begins with `lead`."""
    return 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
