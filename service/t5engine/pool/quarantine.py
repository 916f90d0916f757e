"""Inputs that ended a worker process while they ran alone."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec

from t5engine.messages import JobMessage

LIMIT = 2
MEMORY = 1024  # inputs remembered; the oldest are forgotten first


class Quarantine:
    """Counts deaths per input, whatever the job's number; two and the input is refused."""

    def __init__(self) -> None:
        self._deaths: OrderedDict[bytes, int] = OrderedDict()

    def holds(self, message: JobMessage) -> bool:
        """Whether this input is refused."""
        return bool(self._deaths) and self._deaths.get(_key(message), 0) >= LIMIT

    def blame(self, message: JobMessage) -> bool:
        """Counts a death against the input; whether it is refused from now on."""
        key = _key(message)
        self._deaths[key] = self._deaths.pop(key, 0) + 1
        while len(self._deaths) > MEMORY:
            self._deaths.popitem(last=False)
        return self._deaths[key] >= LIMIT

    def clear(self, message: JobMessage) -> None:
        """The input was decoded after all."""
        if self._deaths:
            self._deaths.pop(_key(message), None)


def _key(message: JobMessage) -> bytes:
    # The input alone: other parameters on the same text would end the worker as well.
    fields = msgspec.structs.asdict(message)
    parts = [fields.get(name) for name in ("text", "ids", "encoder_ids", "decoder_ids")]
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=16).digest()
