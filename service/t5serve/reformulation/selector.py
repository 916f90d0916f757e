"""Selects the reformulations of a query, and caches the selections of cached results."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields
from typing import Protocol

import msgspec

from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Generated
from t5engine.pool.result import Result
from t5gguf.tasks import Task
from t5serve.digests import digest
from t5serve.reformulation.candidates import (
    Selection,
    keep_corrected,
    leave_unchanged,
    select_candidates,
)
from t5serve.reformulation.lexicon import EMPTY, Lexicon
from t5serve.reformulation.options import Options
from t5serve.reformulation.pieces import select_pieces
from t5serve.reformulation.text import fold

DELIVERY_OPTIONS = frozenset({"strict", "cache", "timeout_ms"})
"""The options that say how a result is delivered. All others may decide what is selected."""
_SELECTING = [field.name for field in fields(Options) if field.name not in DELIVERY_OPTIONS]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Selection)


class Cache(Protocol):
    """Keeps bytes by key, for as long as there is memory."""

    def get(self, key: bytes) -> bytes | None: ...

    def put(self, key: bytes, result: bytes) -> None: ...


@dataclass(frozen=True)
class Decoded:
    """A query and its decoded sequences.

    Attributes:
        original: the query as it was sent.
        query: the query as the model read it.
        config: the decoding parameters.
        result: the decoded sequences.
    """

    original: str
    query: str
    config: GenerationConfig
    result: Result


class Selector:
    """Selects by the rules of one model.

    Guards take longer than a cache hit should take, so selections are cached too. A cached
    selection is used only if the model's answer is cached. Each selector has its own keys, because
    another selector may have another lexicon.

    Args:
        lexicon: words that count as spelled correctly.
        cache: stores selections; None: nothing is cached.
    """

    def __init__(self, lexicon: Lexicon = EMPTY, cache: Cache | None = None) -> None:
        self._lexicon = lexicon
        self._cache = cache
        self._identity = uuid.uuid4().bytes

    def select(self, decoded: Decoded, options: Options, task: Task) -> Selection:
        """Selects reformulations.

        Args:
            decoded: the query and its decoded sequences.
            options: the options of the request.
            task: the task that the options name.
        """
        cache = self._cache if options.cache and decoded.config.is_deterministic else None
        if cache is None:
            return self._select(decoded, options, task)
        key = self.key_of(decoded.original, decoded.query, options, decoded.config.num_beams)
        if decoded.result.cached and (stored := cache.get(key)) is not None:
            return _decoder.decode(stored)
        selection = self._select(decoded, options, task)
        cache.put(key, _encoder.encode(selection))
        return selection

    def key_of(self, original: str, query: str, options: Options, num_beams: int = 1) -> bytes:
        """Returns the key of a selection; how a query is searched else follows from the options."""
        values = [getattr(options, name) for name in _SELECTING]
        return digest(self._identity, [original, query, num_beams, *values])

    def _select(self, decoded: Decoded, options: Options, task: Task) -> Selection:
        original, query, generated = decoded.original, decoded.query, decoded.result.generated
        if task.takes_document:  # a document's queries are compared only with each other
            return self._select_outputs("", generated, decoded.config, options, task)
        selection = self._select_outputs(query, generated, decoded.config, options, task)
        if fold(query) == fold(original):
            return selection
        includes = options.include_original
        return keep_corrected(original, query, selection, include_original=includes)

    def _select_outputs(
        self,
        query: str,
        generated: Generated,
        config: GenerationConfig,
        options: Options,
        task: Task,
    ) -> Selection:
        limit = task.max_query_tokens if options.leaves_alone else None
        if limit is not None and generated.prompt_tokens > limit:
            return leave_unchanged(query, "too_long_to_rewrite")
        outputs = generated.outputs
        if config.do_sample:  # beams are sorted already
            outputs = sorted(outputs, key=lambda output: -output.score)
        select = select_pieces if options.separator else select_candidates
        return select(query, outputs, options, self._lexicon)
