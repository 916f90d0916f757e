"""The type of each tensor, and quantisation by ggml in processes of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import get_args

import numpy as np
from gguf import GGML_QUANT_SIZES, LlamaFileType
from gguf import GGMLQuantizationType as Type

from t5gguf import error_feedback
from t5gguf.config import Config
from t5gguf.errors import ConversionError
from t5gguf.ggml_quantize import Bytes, quantize_rows
from t5gguf.recipe import TensorType
from t5gguf.tensor_map import Role, TensorEntry
from t5gguf.weights import F32


@dataclass(frozen=True)
class Policy:
    """The tensor types of one file type.

    q, k and v of a layer always share one type, so that they can be read as one matrix.

    Attributes:
        file_type: llama.cpp's number of the file type.
        base_type: the type of attention and feed-forward.
        embedding_type: the type of the embedding and the head.
        ffn_down_type: the type of ffn_down in those layers that get more bits in llama.cpp's _M
            mixtures.
    """

    file_type: LlamaFileType
    base_type: Type
    embedding_type: Type
    ffn_down_type: Type | None = None


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
# llama.cpp's number of a file whose matrices are of a type.
FILE_TYPES = {policy.base_type: policy.file_type for policy in POLICIES.values()} | {
    Type.Q5_0: LlamaFileType.MOSTLY_Q5_0,
    Type.Q5_1: LlamaFileType.MOSTLY_Q5_1,
}
# The groups whose type a caller may choose. The head has the type of the embedding, since the
# embedding may be the head.
GROUPS = {
    "embedding": (Role.EMBEDDING, Role.HEAD),
    "attention": (Role.ATTENTION,),
    "ffn": (Role.FFN, Role.FFN_DOWN),
}
# The types of rows whose length is no multiple of 256, as in llama.cpp's quantiser.
NARROW_ROW_TYPES = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}
# ggml multiplies F16 weights with inputs rounded to F16, whose largest value is 65,504. A tensor
# with inputs above half of that is kept as BF16, which has F32's range.
F16_INPUT_LIMIT = 32_000.0
CHUNK_VALUES = 1 << 22  # values quantised in one call: 16 MB of F32
FEEDBACK_ROWS = 256  # rows quantised with feedback in one call


def expand_group_type(group: str, type_name: str) -> dict[Role, Type]:
    """Returns the type for each role of a group.

    Raises:
        ConversionError: there is no such group or type.
    """
    if group not in GROUPS:
        raise ConversionError(f"group {group!r} is not one of {', '.join(GROUPS)}")
    if type_name not in get_args(TensorType):
        raise ConversionError(f"type {type_name!r} is not one of {', '.join(get_args(TensorType))}")
    return dict.fromkeys(GROUPS[group], Type[type_name])


def select_tensor_type(
    entry: TensorEntry,
    policy: Policy,
    config: Config,
    *,
    max_ffn_down_input: float,
    role_types: Mapping[Role, Type] | None = None,
) -> Type:
    """Returns the type of one tensor.

    Args:
        entry: the tensor.
        policy: the policy of the file.
        config: gives the number of layers.
        max_ffn_down_input: the largest |input| of any ffn_down over real queries.
        role_types: types by role, which take precedence over the policy.
    """
    if entry.role in (Role.NORM, Role.OUTPUT_NORM, Role.BIAS):
        return Type.F32
    tensor_type = policy.base_type
    if entry.role in (Role.EMBEDDING, Role.HEAD):
        tensor_type = policy.embedding_type
    elif entry.role is Role.FFN_DOWN and policy.ffn_down_type and _has_more_bits(entry, config):
        tensor_type = policy.ffn_down_type
    tensor_type = (role_types or {}).get(entry.role, tensor_type)
    exceeds_f16 = entry.role is Role.FFN_DOWN and max_ffn_down_input > F16_INPUT_LIMIT
    if tensor_type is Type.F16 and exceeds_f16:
        tensor_type = Type.BF16
    columns = entry.shape[-1]
    if columns % GGML_QUANT_SIZES[tensor_type][0]:
        tensor_type = NARROW_ROW_TYPES.get(tensor_type, Type.F16)
    return tensor_type if columns % GGML_QUANT_SIZES[tensor_type][0] == 0 else Type.F16


def label_file(policy: Policy, types: Collection[Type]) -> LlamaFileType:
    """Returns the file type that says what is in a file.

    That is the policy's, unless no matrix could get the policy's type: then it is that of the most
    matrices.

    Args:
        policy: the policy of the file.
        types: the types of the attention and feed-forward matrices.
    """
    if not types or policy.base_type in types:
        return policy.file_type
    return FILE_TYPES[Counter(types).most_common(1)[0][0]]


def _has_more_bits(entry: TensorEntry, config: Config) -> bool:
    """Whether a mixture gives the tensor's layer more bits: llama.cpp's use_more_bits.

    These are the first and the last eighth of the layers, and each third layer between them.
    """
    is_decoder = entry.name.startswith("dec.")
    count = config.num_decoder_layers if is_decoder else config.num_layers
    eighth = count // 8
    layer = entry.layer
    return layer < eighth or layer >= 7 * count // 8 or (layer - eighth) % 3 == 2


class Quantizer:
    """Quantises with `ggml_quantize_chunk` in other processes, since a native call may abort."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def __call__(
        self, name: str, values: F32, tensor_type: Type, moments: F32 | None = None
    ) -> Bytes:
        """Returns the tensor's bytes in the file, the same for any number of processes.

        Args:
            name: the tensor's name, for errors.
            values: the tensor's values; each row is a row of the matrix.
            tensor_type: the type to quantise to.
            moments: the second moments of the matrix's inputs, (columns, columns), up to a
                factor. With moments, the tensor is quantised with error feedback.

        Raises:
            ConversionError: values that are not finite, or that overflow F16.
        """
        if not np.isfinite(values).all():
            raise ConversionError(f"{name} has NaN or infinite values")
        if tensor_type is Type.F16 and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise ConversionError(f"{name} has values beyond F16's range: use BF16 or F32")
        if tensor_type is Type.F32:
            return np.ascontiguousarray(values, "<f4").reshape(-1).view(np.uint8)
        rows = values.reshape(-1, values.shape[-1])
        if moments is None:
            step = max(1, CHUNK_VALUES // rows.shape[1])
            quantize_chunk = partial(quantize_rows, tensor_type=tensor_type)
        else:
            step = FEEDBACK_ROWS
            factor = error_feedback.factorize(moments)
            quantize_chunk = partial(
                error_feedback.quantize, tensor_type=tensor_type, factor=factor
            )
        chunks = [rows[start : start + step] for start in range(0, len(rows), step)]
        try:
            return np.concatenate(list(self._pool.map(quantize_chunk, chunks)))
        except BrokenProcessPool as error:
            raise ConversionError(
                f"{name}: a process that quantised to {tensor_type.name} ended: ggml aborted, or "
                "the program lacks `if __name__ == '__main__':` around its main code"
            ) from error


@contextmanager
def open_quantizer() -> Iterator[Quantizer]:
    """Starts a quantiser with a process of one thread for each core."""
    context = multiprocessing.get_context("spawn")
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with _limit_blas_threads(), ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield Quantizer(pool)


@contextmanager
def _limit_blas_threads() -> Iterator[None]:
    """Gives one BLAS thread to each process that starts within the context.

    BLAS reads the environment once, when a process imports numpy, and the pool starts processes
    when it needs them. OpenBLAS and MKL both read this variable.
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
