"""Judgements behind a cache: a document is judged once for a query."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Literal

import msgspec

from t5engine.messages import Cut, Judge, Judged, Timings
from t5engine.pool.judging import Judging
from t5serve.digests import digest
from t5serve.models.cache import ResultCache

DELIVERY_FIELDS = frozenset({"job", "turn"})
"""The fields of Judge that say when a result is delivered. All others decide it."""
_DECIDING = [name for name in Judge.__struct_fields__ if name not in DELIVERY_FIELDS]
NO_TIME = Timings(0.0, 0.0, 0.0)


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """What the cache keeps of a judgement: all but how it came about."""

    positive_logit: float
    negative_logit: float
    prompt_tokens: int


class CachedJudging:
    """Judges like an engine, and judges nothing whose judgement is known.

    Args:
        judging: of the engine of one loaded file.
        cache: may be shared with other engines.

    Attributes:
        on_lookup: called for each judgement.
    """

    def __init__(self, judging: Judging, cache: ResultCache) -> None:
        self._judging = judging
        self._cache = cache
        self._identity = uuid.uuid4().bytes  # as that of CachedEngine
        self.on_lookup: Callable[[Literal["hit", "miss"]], None] = lambda _lookup: None

    def has_judgement(
        self, text: str, positive: int | str, negative: int | str, *, cut: Cut | None = None
    ) -> bool:
        """Whether `judge` needs no worker now."""
        return key_of(self._identity, Judge(0, text, positive, negative, cut)) in self._cache

    async def judge(
        self,
        text: str,
        positive: int | str,
        negative: int | str,
        *,
        cut: Cut | None = None,
        timeout: float,  # noqa: ASYNC109 - the caller splits its budget
    ) -> Judged:
        """Judges like `Judging.judge`; a judgement from the cache took no time.

        Raises:
            JobError: always one of its subclasses.
        """
        key = key_of(self._identity, Judge(0, text, positive, negative, cut))
        if (content := self._cache.get(key)) is not None:
            self.on_lookup("hit")
            stored = _decoder.decode(content)
            logits = stored.positive_logit, stored.negative_logit
            return Judged(0, *logits, stored.prompt_tokens, NO_TIME, batch=0)
        self.on_lookup("miss")
        judged = await self._judging.judge(text, positive, negative, cut=cut, timeout=timeout)
        stored = _Stored(judged.positive_logit, judged.negative_logit, judged.prompt_tokens)
        self._cache.put(key, _encoder.encode(stored))
        return judged


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[_Stored] = msgspec.msgpack.Decoder(_Stored)


def key_of(identity: bytes, request: Judge) -> bytes:
    """Returns the key of a judgement, made from all that it depends on.

    Args:
        identity: of the loaded file, and of how its workers are configured.
        request: what is judged.
    """
    return digest(identity, [getattr(request, name) for name in _DECIDING])
