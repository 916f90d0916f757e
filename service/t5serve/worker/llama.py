"""The backend on llama.cpp's own graph: llama_encode and llama_decode.

One encoder state per context, overwritten by each llama_encode; hence one row. llama.cpp asserts
that n_ubatch holds the whole encoder input, and that an encode comes before the first decode.
Source: llama.cpp, src/llama-context.cpp and src/models/t5.cpp.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np

from t5serve.decoding.greedy import log_sum_exp
from t5serve.worker.backend import F32, BackendError, Step

GGML_TYPE_F32 = 0
MIN_CONTEXT = 256  # llama.cpp rounds up to this


class LlamaBackend:
    """Decodes one row at a time.

    Args:
        model: llama_model pointer; outlives the backend.
        n_vocab: logits that belong to the vocabulary; rows beyond are padding.
        logit_scale: factor on the file's logits that makes them the model's.
        max_input_tokens: longest encoder input.
        max_tokens: most decoder inputs of a row.
        threads: of every native call.
    """

    name = "llama"
    capacity = 1

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - an opaque pointer
        *,
        n_vocab: int,
        logit_scale: float,
        max_input_tokens: int,
        max_tokens: int,
        threads: int,
    ) -> None:
        self.native = model
        self.n_vocab = n_vocab
        self.max_input_tokens = max_input_tokens
        self.max_tokens = max_tokens
        self._scale = np.float32(logit_scale)
        self._position: int | None = None
        context = max(max_input_tokens, max_tokens, MIN_CONTEXT)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = context
        params.n_ubatch = context
        params.n_seq_max = 1
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
        self._batch = llama_cpp.llama_batch_init(context, 0, 1)
        for index in range(context):
            self._batch.n_seq_id[index] = 1
            self._batch.seq_id[index][0] = 0
            self._batch.logits[index] = 1

    def encode(self, row: int, ids: Sequence[int]) -> None:
        if row != 0:
            raise BackendError(f"row {row}: this backend has row 0 only")
        if not 1 <= len(ids) <= self.max_input_tokens:
            raise BackendError(f"{len(ids)} input tokens, expected 1 to {self.max_input_tokens}")
        self._check_ids(ids)
        self._position = None
        llama_cpp.llama_memory_clear(self._memory, False)  # noqa: FBT003 - llama.cpp's signature
        for index, token in enumerate(ids):
            self._batch.token[index] = token
            self._batch.pos[index] = index
        self._batch.n_tokens = len(ids)
        status = llama_cpp.llama_encode(self._context, self._batch)
        if status != 0:
            raise BackendError(f"llama_encode returned {status}")
        self._position = 0

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> Step:
        if list(rows) != [0] or len(tokens) != 1:
            raise BackendError(f"rows {list(rows)}: this backend has row 0 only")
        if self._position is None:
            raise BackendError("step before encode")
        if self._position >= self.max_tokens:
            raise BackendError(f"more than {self.max_tokens} tokens")
        self._check_ids(tokens)
        self._batch.token[0] = tokens[0]
        self._batch.pos[0] = self._position
        self._batch.n_tokens = 1
        status = llama_cpp.llama_decode(self._context, self._batch)
        if status != 0:
            self._position = None
            raise BackendError(f"llama_decode returned {status}")
        self._position += 1
        logits = self._logits()
        best = int(logits.argmax())
        logprob = float(logits[best]) - log_sum_exp(logits)
        return Step(np.array([best], np.int32), np.array([logprob]), lambda _: logits)

    def _logits(self) -> F32:
        pointer = llama_cpp.llama_get_logits_ith(self._context, 0)
        if not pointer:
            raise BackendError("llama.cpp gave no logits")
        address = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float))
        logits = np.ctypeslib.as_array(address, (self.n_vocab,))
        return logits if self._scale == 1 else logits * self._scale

    def release(self, row: int) -> None:
        if row == 0:
            self._position = None

    def _check_ids(self, ids: Sequence[int]) -> None:
        for token in ids:
            if not 0 <= token < self.n_vocab:
                raise BackendError(f"token id {token} is not in 0..{self.n_vocab - 1}")
