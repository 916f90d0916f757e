"""Which type each tensor gets, and the quantising itself by ggml in processes of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import get_args

import numpy as np
from gguf import GGML_QUANT_SIZES, LlamaFileType
from gguf import GGMLQuantizationType as Type

from t5gguf import feedback
from t5gguf.checkpoint import F32, Config
from t5gguf.errors import ConversionError
from t5gguf.native import Bytes, quantize_rows
from t5gguf.recipe import TensorType
from t5gguf.tensor_map import Entry, Role


@dataclass(frozen=True)
class Policy:
    """The types of one kind of file.

    `down_more` goes to the ffn_down of those layers that llama.cpp's _M mixtures give more bits.
    q, k and v of a layer always share one type, so that they can be read as one matrix.
    """

    file_type: LlamaFileType
    base: Type
    embedding: Type
    down_more: Type | None = None


POLICIES = {
    "F32": Policy(LlamaFileType.ALL_F32, Type.F32, Type.F32),
    "F16": Policy(LlamaFileType.MOSTLY_F16, Type.F16, Type.F16),
    "BF16": Policy(LlamaFileType.MOSTLY_BF16, Type.BF16, Type.BF16),
    "Q8_0": Policy(LlamaFileType.MOSTLY_Q8_0, Type.Q8_0, Type.Q8_0),
    "Q6_K": Policy(LlamaFileType.MOSTLY_Q6_K, Type.Q6_K, Type.Q6_K),
    "Q5_K_M": Policy(LlamaFileType.MOSTLY_Q5_K_M, Type.Q5_K, Type.Q6_K, Type.Q6_K),
    "Q4_K_M": Policy(LlamaFileType.MOSTLY_Q4_K_M, Type.Q4_K, Type.Q6_K, Type.Q6_K),
    "Q4_0": Policy(LlamaFileType.MOSTLY_Q4_0, Type.Q4_0, Type.Q4_0),
}
# What a policy's type may be replaced for; the head goes with the embedding, which it may be.
GROUPS = {
    "embedding": (Role.EMBEDDING, Role.HEAD),
    "attention": (Role.ATTENTION,),
    "ffn": (Role.FFN, Role.FFN_DOWN),
}
# What a row that is no multiple of 256 gets instead; llama.cpp's quantiser falls back likewise.
NARROW = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}
# ggml multiplies F16 weights with inputs rounded to F16, whose largest value is 65,504;
# past half of that the tensor is kept as BF16, which has F32's range.
F16_INPUT_LIMIT = 32_000.0
CHUNK = 1 << 22  # values quantised in one call: 16 MB of F32
FEEDBACK_ROWS = 256  # rows quantised with feedback in one call


def group_types(group: str, kind: str) -> dict[Role, Type]:
    """A type for all tensors of a group, by their roles.

    Raises:
        ConversionError: no such group or type.
    """
    if group not in GROUPS:
        raise ConversionError(f"group {group!r} is not one of {', '.join(GROUPS)}")
    if kind not in get_args(TensorType):
        raise ConversionError(f"type {kind!r} is not one of {', '.join(get_args(TensorType))}")
    return dict.fromkeys(GROUPS[group], Type[kind])


def tensor_type(
    entry: Entry,
    policy: Policy,
    config: Config,
    *,
    max_ffn_down_input: float,
    types: Mapping[Role, Type] | None = None,
) -> Type:
    """The type of one tensor.

    Args:
        entry: the tensor.
        policy: of the file.
        config: gives the number of layers.
        max_ffn_down_input: largest |input| of any ffn_down over real queries.
        types: override the policy's, by role.
    """
    if entry.role in (Role.NORM, Role.OUTPUT_NORM, Role.BIAS):
        return Type.F32
    wanted = policy.base
    if entry.role in (Role.EMBEDDING, Role.HEAD):
        wanted = policy.embedding
    elif entry.role is Role.FFN_DOWN and policy.down_more and _more_bits(entry, config):
        wanted = policy.down_more
    wanted = (types or {}).get(entry.role, wanted)
    too_large = entry.role is Role.FFN_DOWN and max_ffn_down_input > F16_INPUT_LIMIT
    if wanted is Type.F16 and too_large:
        wanted = Type.BF16
    columns = entry.shape[-1]
    if columns % GGML_QUANT_SIZES[wanted][0]:
        wanted = NARROW.get(wanted, Type.F16)
    return wanted if columns % GGML_QUANT_SIZES[wanted][0] == 0 else Type.F16


def _more_bits(entry: Entry, config: Config) -> bool:
    """The first and last eighth of the layers, every third between: llama.cpp's use_more_bits."""
    decoder = entry.name.startswith("dec.")
    count = config.num_decoder_layers if decoder else config.num_layers
    eighth = count // 8
    layer = entry.layer
    return layer < eighth or layer >= 7 * count // 8 or (layer - eighth) % 3 == 2


class Quantizer:
    """Quantises with `ggml_quantize_chunk` in other processes, since a native call may abort."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def __call__(self, name: str, values: F32, kind: Type, moments: F32 | None = None) -> Bytes:
        """The tensor's bytes in the file.

        Args:
            name: the tensor's, for errors.
            values: of the tensor, each row a row of the matrix.
            kind: what to quantise to.
            moments: of the matrix's inputs, (columns, columns), up to a factor; with them errors
                are fed back. The same bytes come of any number of processes.

        Raises:
            ConversionError: values that are not finite, or that overflow F16.
        """
        if not np.isfinite(values).all():
            raise ConversionError(f"{name} has NaN or infinite values")
        if kind is Type.F16 and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise ConversionError(f"{name} has values beyond F16's range: use BF16 or F32")
        if kind is Type.F32:
            return np.ascontiguousarray(values, "<f4").reshape(-1).view(np.uint8)
        rows = values.reshape(-1, values.shape[-1])
        if moments is None:
            step = max(1, CHUNK // rows.shape[1])
            task = partial(quantize_rows, kind=kind)
        else:
            step = FEEDBACK_ROWS
            task = partial(feedback.quantize, kind=kind, root=feedback.factor(moments))
        chunks = [rows[start : start + step] for start in range(0, len(rows), step)]
        try:
            parts = list(self._pool.map(task, chunks))
        except BrokenProcessPool as error:
            raise ConversionError(
                f"{name}: a process that quantised to {kind.name} ended: ggml aborted, or the "
                "program lacks `if __name__ == '__main__':` around what it does"
            ) from error
        return np.concatenate(parts)


@contextmanager
def quantizer() -> Iterator[Quantizer]:
    """A quantiser with as many processes as there are cores, of one thread each."""
    context = multiprocessing.get_context("spawn")
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with _one_thread(), ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield Quantizer(pool)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that start meanwhile have a BLAS without threads of its own.

    Through the environment, since it reads it once, when a process imports numpy; the pool starts
    processes as it needs them. OpenBLAS and MKL both know this variable.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
