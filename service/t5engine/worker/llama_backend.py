"""The backend on llama.cpp's own graph: llama_encode and llama_decode.

One encoder state per context, overwritten by each llama_encode; hence one input at a time, which
all rows share: its tokens belong to every row's sequence. llama.cpp asserts that n_ubatch holds the
whole encoder input, that an encode comes before the first decode, and that sequences share one
cache. Source: llama.cpp, src/llama-context.cpp, src/llama-graph.cpp and src/models/t5.cpp.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np

from t5engine.backend import F32, BackendError, check_ids, check_row, check_step, spoil

GGML_TYPE_F32 = 0
MIN_CONTEXT = 256  # llama.cpp rounds up to this
LAST = -1  # an open end of a range of positions


class LlamaBackend:
    """Decodes rows over one input.

    Args:
        model: llama_model pointer; outlives the backend.
        n_vocab: logits that belong to the vocabulary; rows beyond are padding.
        logit_scale: factor on the file's logits that makes them the model's.
        max_input_tokens: longest encoder input.
        max_tokens: most decoder inputs of a row.
        threads: of every native call.
        rows: sequences at once.
    """

    name = "llama"
    kernels = "ggml's kernels"
    inputs = 1

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - an opaque pointer
        *,
        n_vocab: int,
        logit_scale: float,
        max_input_tokens: int,
        max_tokens: int,
        threads: int,
        rows: int,
    ) -> None:
        self.native = model
        self.rows = rows
        self.n_vocab = n_vocab
        self.max_input_tokens = max_input_tokens
        self.max_tokens = max_tokens
        self._scale = np.float32(logit_scale)
        self._position: dict[int, int] = {}
        """Of each open row: tokens decoded so far."""
        self._clean = True
        """Whether all that is cached is finite: a mask does not keep NaN from those who come."""
        batch = self._most = max(max_input_tokens, rows, MIN_CONTEXT)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = max(batch, rows * max_tokens)
        params.n_batch = batch
        params.n_ubatch = batch
        params.n_seq_max = 2 * rows  # the rows, and as many again to exchange them
        params.kv_unified = True
        params.n_threads = threads
        params.n_threads_batch = threads
        params.type_k = GGML_TYPE_F32  # small here, and exact
        params.type_v = GGML_TYPE_F32
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED  # slower on CPUs
        params.no_perf = True
        self._context = llama_cpp.llama_init_from_model(model, params)
        if not self._context:
            raise BackendError("llama.cpp could not make a context for this model")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(batch, 0, rows)
        for index in range(batch):
            self._batch.logits[index] = 1

    def encode(self, row: int, ids: Sequence[int]) -> None:
        check_row(self, row)
        if any(other != row for other in self._position):
            raise BackendError("this backend has one input at a time, and other rows decode one")
        if not 1 <= len(ids) <= self.max_input_tokens:
            raise BackendError(f"{len(ids)} input tokens, expected 1 to {self.max_input_tokens}")
        check_ids(self, ids)
        self._position = {}
        llama_cpp.llama_memory_clear(self._memory, not self._clean)
        self._clean = True
        for index, token in enumerate(ids):
            self._batch.token[index] = token
            self._batch.pos[index] = index
            self._batch.n_seq_id[index] = self.rows
            for sequence in range(self.rows):
                self._batch.seq_id[index][sequence] = sequence
        self._batch.n_tokens = len(ids)
        status = llama_cpp.llama_encode(self._context, self._batch)
        if status != 0:
            raise BackendError(f"llama_encode returned {status}")
        self._position[row] = 0

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> list[F32]:
        return [logits[0] for logits in self.extend(rows, [[token] for token in tokens])]

    def extend(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[F32]:
        count = check_step(self, self._position, rows, tokens)
        if count * len(rows) > self._most:
            raise BackendError(f"expected at most {self._most} tokens in all")
        index = 0
        for row, values in zip(rows, tokens, strict=True):
            for place, token in enumerate(values):
                self._batch.token[index] = token
                self._batch.pos[index] = self._position[row] + place
                self._batch.n_seq_id[index] = 1
                self._batch.seq_id[index][0] = row
                index += 1
        self._batch.n_tokens = index
        status = llama_cpp.llama_decode(self._context, self._batch)
        if status != 0:
            for row in rows:
                self.release(row)
            raise BackendError(f"llama_decode returned {status}")
        for row in rows:
            self._position[row] += count
        logits = [
            np.stack([self._logits(place * count + token) for token in range(count)])
            for place in range(len(rows))
        ]
        spoilt = [spoil(row) for row in logits]  # each of them, not only up to the first
        self._clean &= not any(spoilt)
        return logits

    def rewind(self, row: int, position: int) -> None:
        if not 0 <= position <= self._position.get(row, -1):
            raise BackendError(f"row {row} can't go back to {position}")
        llama_cpp.llama_memory_seq_rm(self._memory, row, position, LAST)
        self._position[row] = position

    def reorder(self, rows: Sequence[int], parents: Sequence[int]) -> None:
        if len(set(rows)) != len(rows) or len(rows) != len(parents):
            raise BackendError("expected one parent for each row")
        for row, parent in zip(rows, parents, strict=True):
            check_row(self, row)
            if parent not in self._position:
                raise BackendError(f"row {parent} is not open")
        moves = [(row, parent) for row, parent in zip(rows, parents, strict=True) if row != parent]
        positions = [self._position[parent] for _, parent in moves]
        for place, (_, parent) in enumerate(moves):  # all parents, before any of them is lost
            self._copy(parent, self.rows + place)
        for place, (row, _) in enumerate(moves):
            self._forget(row)
            self._copy(self.rows + place, row)
            self._forget(self.rows + place)
            self._position[row] = positions[place]

    def release(self, row: int) -> None:
        if self._position.pop(row, None) is not None:
            self._forget(row)

    def _copy(self, source: int, target: int) -> None:
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, LAST)

    def _forget(self, sequence: int) -> None:
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, 0, LAST)

    def _logits(self, index: int) -> F32:
        pointer = llama_cpp.llama_get_logits_ith(self._context, index)
        if not pointer:
            raise BackendError("llama.cpp gave no logits")
        address = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float))
        logits = np.ctypeslib.as_array(address, (self.n_vocab,))
        return logits if self._scale == 1 else logits * self._scale
