"""The llama backend, on llama.cpp's own graph: llama_encode and llama_decode.

A context has one encoder state, which each llama_encode overwrites. So there is one input at a
time, which all rows share: its tokens belong to every row's sequence. llama.cpp asserts that
n_ubatch holds the whole encoder input, that an encode precedes the first decode, and that all
sequences share one cache. Source: llama.cpp, src/llama-context.cpp, src/llama-graph.cpp and
src/models/t5.cpp.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np

from t5engine.backend import (
    F32,
    BackendError,
    check_ids,
    check_row,
    check_step,
    poison_if_not_finite,
)

GGML_TYPE_F32 = 0
MIN_CONTEXT = 256  # llama.cpp rounds up to this
OPEN_END = -1  # of a range of positions


class LlamaBackend:
    """Decodes rows over one shared input.

    Args:
        model: pointer to a llama_model that outlives the backend.
        n_vocab: number of logits of the vocabulary; further rows of the head are padding.
        logit_scale: factor that turns the file's logits into the model's.
        max_input_tokens: longest encoder input.
        max_tokens: most decoder inputs per row.
        threads: threads of every native call.
        rows: most sequences at once.
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
        self._positions: dict[int, int] = {}
        """Tokens decoded so far, by open row."""
        self._cache_is_finite = True
        """Whether the cache is free of NaN, from which a mask does not protect later users."""
        batch = self._batch_capacity = max(max_input_tokens, rows, MIN_CONTEXT)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = max(batch, rows * max_tokens)
        params.n_batch = batch
        params.n_ubatch = batch
        params.n_seq_max = 2 * rows  # reorder copies through as many spare sequences
        params.kv_unified = True
        params.n_threads = threads
        params.n_threads_batch = threads
        params.type_k = GGML_TYPE_F32  # small here, and exact
        params.type_v = GGML_TYPE_F32
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED  # slower on CPUs
        params.no_perf = True
        self._context = llama_cpp.llama_init_from_model(model, params)
        if not self._context:
            raise BackendError("llama.cpp can't create a context for this model")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(batch, 0, rows)
        for index in range(batch):
            self._batch.logits[index] = 1

    def encode(self, row: int, ids: Sequence[int], *, is_single_step: bool = False) -> None:
        del is_single_step
        check_row(self, row)
        if any(open_row != row for open_row in self._positions):
            raise BackendError("other rows are open, and this backend takes one input at a time")
        if not 1 <= len(ids) <= self.max_input_tokens:
            raise BackendError(f"{len(ids)} input tokens, expected 1 to {self.max_input_tokens}")
        check_ids(self, ids)
        self._positions = {}
        llama_cpp.llama_memory_clear(self._memory, not self._cache_is_finite)
        self._cache_is_finite = True
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
        self._positions[row] = 0

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> list[F32]:
        return [logits[0] for logits in self.extend(rows, [[token] for token in tokens])]

    def extend(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[F32]:
        count = check_step(self, self._positions, rows, tokens)
        if count * len(rows) > self._batch_capacity:
            raise BackendError(f"expected at most {self._batch_capacity} tokens in all")
        index = 0
        for row, row_tokens in zip(rows, tokens, strict=True):
            for offset, token in enumerate(row_tokens):
                self._batch.token[index] = token
                self._batch.pos[index] = self._positions[row] + offset
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
            self._positions[row] += count
        logits = [
            np.stack([self._read_logits(index * count + token) for token in range(count)])
            for index in range(len(rows))
        ]
        poisoned = [poison_if_not_finite(row) for row in logits]  # all rows: any() would stop early
        self._cache_is_finite &= not any(poisoned)
        return logits

    def rewind(self, row: int, position: int) -> None:
        if not 0 <= position <= self._positions.get(row, -1):
            raise BackendError(f"row {row} can't go back to {position}")
        llama_cpp.llama_memory_seq_rm(self._memory, row, position, OPEN_END)
        self._positions[row] = position

    def reorder(self, rows: Sequence[int], parents: Sequence[int]) -> None:
        if len(set(rows)) != len(rows) or len(rows) != len(parents):
            raise BackendError("expected one parent for each row")
        for row, parent in zip(rows, parents, strict=True):
            check_row(self, row)
            if parent not in self._positions:
                raise BackendError(f"row {parent} is not open")
        moves = [(row, parent) for row, parent in zip(rows, parents, strict=True) if row != parent]
        positions = [self._positions[parent] for _, parent in moves]
        for index, (_, parent) in enumerate(moves):  # copy all parents before overwriting any
            self._copy_sequence(parent, self.rows + index)
        for index, (row, _) in enumerate(moves):
            self._clear_sequence(row)
            self._copy_sequence(self.rows + index, row)
            self._clear_sequence(self.rows + index)
            self._positions[row] = positions[index]

    def release(self, row: int) -> None:
        if self._positions.pop(row, None) is not None:
            self._clear_sequence(row)

    def _copy_sequence(self, source: int, target: int) -> None:
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, OPEN_END)

    def _clear_sequence(self, sequence: int) -> None:
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, 0, OPEN_END)

    def _read_logits(self, index: int) -> F32:
        pointer = llama_cpp.llama_get_logits_ith(self._context, index)
        if not pointer:
            raise BackendError("llama.cpp returned no logits")
        address = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float))
        logits = np.ctypeslib.as_array(address, (self.n_vocab,))
        return logits if self._scale == 1 else logits * self._scale
