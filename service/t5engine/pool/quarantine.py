"""Refuses inputs that ended a worker process while they were its only job."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from t5engine.messages import JobMessage

MAX_EXITS = 2
MAX_INPUTS = 1024  # inputs remembered; the oldest are forgotten first
EXPIRY_SECONDS = 600.0  # after this, an input is tried again


class _Blame(NamedTuple):
    """The number of worker exits with an input, and the time of the latest."""

    exits: int
    at: float


class Quarantine:
    """Counts worker exits per input, across jobs; after `MAX_EXITS` the input is refused.

    The input need not be the cause: the kernel or a person may have killed the process. So the
    quarantine of an input expires. After that, a single exit begins it again.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._blames: OrderedDict[bytes, _Blame] = OrderedDict()

    def is_refused(self, message: JobMessage) -> bool:
        """Whether the message's input is refused."""
        blame = self._blames.get(_input_key(message)) if self._blames else None
        if blame is None or blame.exits < MAX_EXITS:
            return False
        return self._clock() - blame.at < EXPIRY_SECONDS

    def record_exit(self, message: JobMessage) -> bool:
        """Counts a worker exit against the input.

        Returns:
            Whether the input is refused from now on.
        """
        key = _input_key(message)
        exits = self._blames.pop(key, _Blame(0, 0.0)).exits + 1
        self._blames[key] = _Blame(exits, self._clock())
        while len(self._blames) > MAX_INPUTS:
            self._blames.popitem(last=False)
        return exits >= MAX_EXITS

    def clear(self, message: JobMessage) -> None:
        """Forgets the exits of an input that was decoded after all."""
        if self._blames:
            self._blames.pop(_input_key(message), None)


def _input_key(message: JobMessage) -> bytes:
    # The key has no parameters: the same text would end a worker with any of them.
    fields = msgspec.structs.asdict(message)
    parts = [fields.get(name) for name in ("text", "ids", "encoder_ids", "decoder_ids")]
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=16).digest()
