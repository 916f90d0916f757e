"""Our own kernels, product.c and attention.c: for processors where they are faster than ggml's.

The library is compiled when the package is built. Where it is missing, or the processor lacks what
it needs, ggml's kernels do the same work.
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
GROUP, BLOCK, LINE = 16, 32, 64  # rows, columns; bytes of a cache line

Bytes = npt.NDArray[np.uint8]


class MatrixStruct(ctypes.Structure):
    """struct matrix of product.c."""

    _fields_ = (("type", c_int64), ("rows", c_int64), ("columns", c_int64), ("data", c_void_p))


class ProductStruct(ctypes.Structure):
    """struct product of product.c."""

    _fields_ = (
        ("matrix", c_void_p),
        ("input", c_void_p),
        ("output", c_void_p),
        ("count", c_int64),
        ("norm", c_void_p),
        ("residual", c_void_p),
        ("epsilon", c_float),
        ("rectified", c_int32),
    )


class AttentionStruct(ctypes.Structure):
    """struct attention of attention.c."""

    _fields_ = (
        *((name, c_void_p) for name in ("q", "k", "v", "bias", "output")),
        *((name, c_int64) for name in ("d_kv", "heads", "queries", "keys", "rows")),
        *((name, c_int64) for name in ("q_line", "kv_line", "kv_row", "bias_head", "bias_row")),
    )


class Matrix:
    """Weights as the kernel reads them.

    Attributes:
        rows: of the matrix: values that come out per column.
        columns: values that go in.
        private_bytes: memory of its own.
    """

    def __init__(self, kind: int, rows: int, columns: int, parts: Sequence[Bytes]) -> None:
        """Lays the weights out.

        Args:
            kind: ggml's type, one that `can_multiply`.
            rows: of all parts.
            columns: of each.
            parts: rows one after another as in a GGUF file; F16 must be in one part, which stays
                where it is.
        """
        self.rows, self.columns = rows, columns
        if kind == F16:
            (self._data,) = parts
            self.private_bytes = 0
        else:
            self._data = self._pack(kind, parts)
            self.private_bytes = self._data.nbytes
        self._struct = MatrixStruct(kind, rows, columns, self._data.ctypes.data)

    def product(self) -> ProductStruct:
        """What `multiply` takes; where its numbers are is still to be filled in."""
        return ProductStruct(matrix=ctypes.addressof(self._struct))

    def _pack(self, kind: int, parts: Sequence[Bytes]) -> Bytes:
        library = load()
        group = self.columns // BLOCK * (int(library.t5_block_size(kind)) + 2 * GROUP)
        packed = _aligned(self.rows // GROUP * group)
        at = 0
        for part in parts:
            rows = self.rows * part.nbytes // sum(one.nbytes for one in parts)
            library.t5_pack(
                kind, rows, self.columns, part.ctypes.data, packed[at * group :].ctypes.data
            )
            at += rows // GROUP
        return packed


def can_multiply(kind: int, rows: Sequence[int], columns: int) -> bool:
    """Whether there is a kernel for the matrix that parts with these rows make up."""
    library = load()
    return library is not None and all(
        library.t5_can_multiply(kind, count, columns) for count in rows
    )


def can_attend(d_kv: int, keys: int) -> bool:
    """Whether there is a kernel for heads of this size over so many keys."""
    library = load()
    return library is not None and bool(library.t5_can_attend(d_kv, keys))


def multiply() -> c_void_p:
    """The ggml_custom_op_t that takes a ProductStruct."""
    return ctypes.cast(load().t5_multiply, c_void_p)


def attend() -> c_void_p:
    """The ggml_custom_op_t that takes an AttentionStruct."""
    return ctypes.cast(load().t5_attend, c_void_p)


@cache
def load() -> Any:  # noqa: ANN401 - functions as attributes
    """The library, or None where it was not compiled."""
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


def _aligned(size: int) -> Bytes:
    memory = np.empty(size + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size]
