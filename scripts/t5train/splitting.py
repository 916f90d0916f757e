"""Which groups are held out: a fixed hash of the group's text decides, in every program alike."""

from __future__ import annotations

import hashlib

from t5train.words import normal

HELD_SHARE = 0.08
SPACE = 1 << 32


def is_held(group: str, share: float = HELD_SHARE) -> bool:
    """Whether a group is for measuring; case, punctuation and spacing do not count."""
    digest = hashlib.blake2b(normal(group).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") < share * SPACE
