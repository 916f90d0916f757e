"""A cache of results, bounded in bytes."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Self

from t5serve.settings import Settings


class ResultCache:
    """Keeps results by key; drops the least recently used ones when memory runs out.

    Keys and results are bytes: a result takes a fraction of what its objects would take, its size
    is known, and the garbage collector has nothing to visit.

    Args:
        max_bytes: the most memory that the entries and their index take.

    Attributes:
        evictions: the number of results that were dropped for lack of memory.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self._content_bytes = 0
        self.evictions = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Builds the cache of a service; None: the settings turn it off."""
        return cls(settings.cache_bytes) if settings.cache_bytes else None

    def __len__(self) -> int:
        """Number of results."""
        return len(self._entries)

    def __contains__(self, key: bytes) -> bool:
        """Whether there is a result; asking is no use of the result."""
        return key in self._entries

    @property
    def bytes_used(self) -> int:
        """The memory of keys, results and index, in bytes."""
        return self._content_bytes + sys.getsizeof(self._entries)

    def get(self, key: bytes) -> bytes | None:
        """Returns a result, which is the last one to be dropped from now on; None: not there."""
        result = self._entries.get(key)
        if result is not None:
            self._entries.move_to_end(key)
        return result

    def put(self, key: bytes, result: bytes) -> None:
        """Keeps a result, unless the result alone is larger than the cache."""
        if (previous := self._entries.pop(key, None)) is not None:
            self._content_bytes -= _allocated(key) + _allocated(previous)
        size = _allocated(key) + _allocated(result)
        if size > self._max_bytes:
            return
        self._entries[key] = result
        self._content_bytes += size
        self._evict()

    def _evict(self) -> None:
        while self._entries and self.bytes_used > self._max_bytes:
            key, result = self._entries.popitem(last=False)
            self._content_bytes -= _allocated(key) + _allocated(result)
            self.evictions += 1


def _allocated(content: bytes) -> int:
    """Returns the memory of an object: allocators give multiples of 16 bytes."""
    return -(-sys.getsizeof(content) // 16) * 16
