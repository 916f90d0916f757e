"""Refuses inputs that ended a worker process while they were its only job."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec

from t5engine.messages import JobMessage

MAX_EXITS = 2
MAX_INPUTS = 1024  # inputs remembered; the oldest are forgotten first


class Quarantine:
    """Counts worker exits per input, across jobs; after `MAX_EXITS` the input is refused."""

    def __init__(self) -> None:
        self._exits: OrderedDict[bytes, int] = OrderedDict()

    def is_refused(self, message: JobMessage) -> bool:
        """Whether the message's input is refused."""
        return bool(self._exits) and self._exits.get(_input_key(message), 0) >= MAX_EXITS

    def record_exit(self, message: JobMessage) -> bool:
        """Counts a worker exit against the input.

        Returns:
            Whether the input is refused from now on.
        """
        key = _input_key(message)
        self._exits[key] = self._exits.pop(key, 0) + 1
        while len(self._exits) > MAX_INPUTS:
            self._exits.popitem(last=False)
        return self._exits[key] >= MAX_EXITS

    def clear(self, message: JobMessage) -> None:
        """Forgets the exits of an input that was decoded after all."""
        if self._exits:
            self._exits.pop(_input_key(message), None)


def _input_key(message: JobMessage) -> bytes:
    # The input alone: other parameters on the same text would end the worker as well.
    fields = msgspec.structs.asdict(message)
    parts = [fields.get(name) for name in ("text", "ids", "encoder_ids", "decoder_ids")]
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=16).digest()
