"""Digests of values: keys that are equal only if the values are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_encoder = msgspec.msgpack.Encoder()
_PLAIN_TYPES = frozenset({bool, int, float, str, type(None)})


def digest(identity: bytes, values: Sequence[object]) -> bytes:
    """Returns 32 bytes that stand for values, each of them with its type.

    Neither the order of a set or mapping counts, nor whether a field of a struct is a default.
    A digest keeps no text in memory, and nobody can make two lists of values with the same one.

    Args:
        identity: whose values these are; at most 64 bytes.
        values: structs, mappings, sets, lists, strings, numbers, None.

    Raises:
        TypeError, ValueError, OverflowError: a value can't be encoded.
    """
    encoded = _encoder.encode([_plain(value) for value in values])
    return hashlib.blake2b(encoded, digest_size=32, key=identity).digest()


def _plain(value: Any) -> Any:  # noqa: ANN401 - of any type
    """Returns what the encoder writes in one way only."""
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.astuple(value)
        return [field if type(field) in _PLAIN_TYPES else _plain(field) for field in fields]
    if isinstance(value, Mapping):
        return sorted(value.items())
    return sorted(value) if isinstance(value, frozenset) else value
