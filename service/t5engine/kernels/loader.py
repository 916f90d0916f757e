"""Loads our own kernels and describes their arguments, the structs of kernels.h.

The kernels serve processors on which they are faster than ggml's. The library is compiled when the
package is built. ggml's kernels do the same work where the library is missing or the processor
lacks the instructions.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LIBRARY = Path(__file__).with_name("kernels.so")
F16, Q4_0, Q8_0 = 1, 2, 8  # enum ggml_type
GROUP, BLOCK = 16, 32  # rows per group, columns per block, as in kernels.h
CACHE_LINE = 64  # bytes

Bytes = npt.NDArray[np.uint8]


class MatrixStruct(ctypes.Structure):
    """struct matrix of kernels.h."""

    _fields_ = (("type", c_int64), ("rows", c_int64), ("columns", c_int64), ("data", c_void_p))


class ProductStruct(ctypes.Structure):
    """struct product of kernels.h."""

    _fields_ = (
        ("matrix", c_void_p),
        ("input", c_void_p),
        ("output", c_void_p),
        ("count", c_int64),
        ("norm", c_void_p),
        ("residual", c_void_p),
        ("epsilon", c_float),
        ("relu", c_int32),
    )


class AttentionStruct(ctypes.Structure):
    """struct attention of kernels.h."""

    _fields_ = (
        *((name, c_void_p) for name in ("q", "k", "v", "bias", "output")),
        *((name, c_int64) for name in ("d_kv", "heads", "queries", "keys", "rows")),
        *((name, c_int64) for name in ("q_stride", "kv_stride", "kv_row_stride")),
        *((name, c_int64) for name in ("bias_head_stride", "bias_row_stride")),
    )


class Matrix:
    """Weights in the layout that the kernel reads.

    Attributes:
        rows: outputs of a product with one input row.
        columns: values of an input row.
        private_bytes: memory that the matrix takes besides the file.
    """

    def __init__(self, tensor_type: int, rows: int, columns: int, parts: Sequence[Bytes]) -> None:
        """Packs the weights, unless they are F16.

        Args:
            tensor_type: ggml's type, for which `can_multiply` is true.
            rows: rows of all parts together.
            columns: columns of each part.
            parts: consecutive rows as in a GGUF file. F16 must be one part, which is not copied.
        """
        self.rows, self.columns = rows, columns
        if tensor_type == F16:
            (self._data,) = parts
            self.private_bytes = 0
        else:
            self._data = self._pack(tensor_type, parts)
            self.private_bytes = self._data.nbytes
        self._struct = MatrixStruct(tensor_type, rows, columns, self._data.ctypes.data)

    def new_product(self) -> ProductStruct:
        """Returns parameters for the multiply operation, with only the matrix filled in."""
        return ProductStruct(matrix=ctypes.addressof(self._struct))

    def _pack(self, tensor_type: int, parts: Sequence[Bytes]) -> Bytes:
        library = load_library()
        block_size = int(library.t5_block_size(tensor_type)) + 2 * GROUP
        group_size = self.columns // BLOCK * block_size
        packed = _allocate_aligned(self.rows // GROUP * group_size)
        total_size = sum(part.nbytes for part in parts)
        group = 0
        for part in parts:
            rows = self.rows * part.nbytes // total_size
            target = packed[group * group_size :].ctypes.data
            library.t5_pack(tensor_type, rows, self.columns, part.ctypes.data, target)
            group += rows // GROUP
        return packed


def can_multiply(tensor_type: int, rows: Sequence[int], columns: int) -> bool:
    """Whether a kernel takes the matrix whose parts have these numbers of rows."""
    library = load_library()
    return library is not None and all(
        library.t5_can_multiply(tensor_type, count, columns) for count in rows
    )


def can_attend(d_kv: int, keys: int) -> bool:
    """Whether a kernel takes heads of this size over this number of keys."""
    library = load_library()
    return library is not None and bool(library.t5_can_attend(d_kv, keys))


def load_multiply_op() -> c_void_p:
    """Returns the ggml_custom_op_t whose parameters are a ProductStruct."""
    return ctypes.cast(load_library().t5_multiply, c_void_p)


def load_attention_op() -> c_void_p:
    """Returns the ggml_custom_op_t whose parameters are an AttentionStruct."""
    return ctypes.cast(load_library().t5_attend, c_void_p)


@cache
def load_library() -> Any:  # noqa: ANN401 - functions as attributes
    """Returns the library, or None if it was not compiled."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None
    library.t5_can_multiply.argtypes = [c_int64, c_int64, c_int64]
    library.t5_can_multiply.restype = c_int
    library.t5_can_attend.argtypes = [c_int64, c_int64]
    library.t5_can_attend.restype = c_int
    library.t5_block_size.argtypes = [c_int64]
    library.t5_block_size.restype = c_size_t
    library.t5_pack.argtypes = [c_int64, c_int64, c_int64, c_void_p, c_void_p]
    library.t5_pack.restype = None
    return library


def _allocate_aligned(size: int) -> Bytes:
    """Returns uninitialised memory that starts at a cache line."""
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size]
