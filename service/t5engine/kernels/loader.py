"""Loads our own kernels and describes their arguments, the structs of kernels.h.

The kernels serve processors on which they are faster than ggml's. The library is compiled when the
package is built. ggml's kernels do the same work where the library is missing or the processor
lacks the instructions.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from copy import copy
from ctypes import c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint8, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t5engine.kernels.memory import Arena, Bytes

LIBRARY = Path(__file__).with_name("kernels.so")
OPERATION = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_int, c_void_p)  # ggml_custom_op_t
F16, Q4_0, Q8_0 = 1, 2, 8  # enum ggml_type
GROUP, BLOCK = 16, 32  # rows per group, columns per block, as in kernels.h


class FormatStruct(ctypes.Structure):
    """struct format of kernels.h."""

    _fields_ = (("type", c_int64), ("bits", c_int), ("zero_point", c_int), ("flipped", c_uint8))


class MatrixStruct(ctypes.Structure):
    """struct matrix of kernels.h."""

    _fields_ = (("format", c_void_p), ("rows", c_int64), ("columns", c_int64), ("data", c_void_p))


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
        ("parts", c_int64),
    )


class AttentionStruct(ctypes.Structure):
    """struct attention of kernels.h."""

    _fields_ = (
        *((name, c_void_p) for name in ("q", "k", "v", "bias", "output")),
        *((name, c_int64) for name in ("d_kv", "heads", "queries", "keys", "rows")),
        *((name, c_int64) for name in ("q_stride", "kv_stride", "kv_row_stride")),
        ("kv_head_stride", c_int64),
        *((name, c_int64) for name in ("bias_head_stride", "bias_row_stride")),
    )


class KernelsStruct(ctypes.Structure):
    """struct kernels of kernels.h."""

    _fields_ = (
        ("name", c_char_p),
        ("is_supported", ctypes.CFUNCTYPE(c_int)),
        ("can_multiply", ctypes.CFUNCTYPE(c_int, c_void_p, c_int64, c_int64)),
        ("can_attend", ctypes.CFUNCTYPE(c_int, c_int64, c_int64)),
        ("multiply", c_void_p),
        ("attend", c_void_p),
    )


class GreedyStepStruct(ctypes.Structure):
    """struct greedy_step of kernels.h."""

    _fields_ = (
        *((name, c_void_p) for name in ("graph", "ids", "slots", "biases", "logits")),
        *((name, c_int64) for name in ("tokens", "self_keys", "vocab_rows", "max_runs", "runs")),
        ("seconds", c_double),
        ("threads", c_int32),
    )


class GreedyStruct(ctypes.Structure):
    """struct greedy of kernels.h."""

    _fields_ = (
        *((name, c_void_p) for name in ("compute", "set_threads", "backend", "single", "drafting")),
        *((name, c_void_p) for name in ("biases", "source", "suppressed")),
        *((name, c_int64) for name in ("tables", "heads", "row_slots", "source_count")),
        *(("suppressed_count", c_int64), ("biased", c_void_p), ("bias", c_void_p)),
        *(("bias_count", c_int64), ("saved", c_void_p)),
        *((name, c_int64) for name in ("capacity", "n_vocab", "start", "eos")),
        ("seconds", c_double),
        *((name, c_int64) for name in ("drafted", "kept")),
        *((name, c_int32) for name in ("descriptor", "is_finite")),
    )


class Kernels:
    """The kernels of one instruction set.

    Attributes:
        name: the instruction set.
        multiply_op: the ggml_custom_op_t whose parameters are a ProductStruct.
        attention_op: the ggml_custom_op_t whose parameters are an AttentionStruct.
    """

    def __init__(self, struct: KernelsStruct) -> None:
        self._struct = struct
        self.name = struct.name.decode()
        self.multiply_op = c_void_p(struct.multiply)
        self.attention_op = c_void_p(struct.attend)

    @classmethod
    def find(cls, name: str = "auto") -> Kernels | None:
        """Returns the kernels of an instruction set that this processor has; None if it has none.

        Args:
            name: the instruction set, or auto: the best.
        """
        library = load_library()
        address = library and library.t5_find_kernels(name.encode())
        return cls(KernelsStruct.from_address(address)) if address else None

    def can_multiply(self, tensor_type: int, rows: Sequence[int], columns: int) -> bool:
        """Whether a kernel takes the matrix whose parts have these numbers of rows."""
        tensor_format = load_library().t5_find_format(tensor_type)
        return all(self._struct.can_multiply(tensor_format, count, columns) for count in rows)

    def can_attend(self, d_kv: int, keys: int) -> bool:
        """Whether a kernel takes heads of this size over this number of keys."""
        return bool(self._struct.can_attend(d_kv, keys))


class Matrix:
    """Weights in the layout that the kernels read.

    Attributes:
        rows: outputs of a product with one input row.
        columns: values of an input row.
        multiply_op: the ggml_custom_op_t that multiplies it.
        private_bytes: memory that the matrix takes besides the file.
        data: the weights, packed or as they are in the file.
        struct: describes the weights for the kernels.
    """

    def __init__(
        self,
        kernels: Kernels,
        tensor_type: int,
        rows: int,
        columns: int,
        parts: Sequence[Bytes],
        arena: Arena,
    ) -> None:
        """Packs the weights, unless they are F16.

        Args:
            kernels: what multiplies the matrix.
            tensor_type: ggml's type, for which `can_multiply` is true.
            rows: rows of all parts together.
            columns: columns of each part.
            parts: consecutive rows as in a GGUF file. F16 must be one part, which is not copied.
            arena: gives the memory for the packed weights.
        """
        self.rows, self.columns = rows, columns
        self.multiply_op = kernels.multiply_op
        tensor_format = int(load_library().t5_find_format(tensor_type))
        if tensor_type == F16:
            (self.data,) = parts
            self.private_bytes = 0
        else:
            self.data = self._pack(tensor_format, parts, arena)
            self.private_bytes = self.data.nbytes
        self.struct = MatrixStruct(tensor_format, rows, columns, self.data.ctypes.data)

    def multiply(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns x (count, columns) times the transposed matrix, (count, rows), by one thread."""
        y = np.empty((len(x), self.rows), np.float32)
        product = self.new_product()
        product.count = len(x)
        product.input, product.output = x.ctypes.data, y.ctypes.data
        OPERATION(self.multiply_op.value or 0)(None, 0, 1, ctypes.addressof(product))
        return y

    def slice_rows(self, first: int, rows: int) -> Matrix:
        """Returns consecutive rows as a matrix over the same memory; both numbers whole groups."""
        part = copy(self)
        size = self.data.nbytes // self.rows
        part.rows, part.private_bytes = rows, 0
        part.data = self.data[first * size : (first + rows) * size]
        part.struct = MatrixStruct(self.struct.format, rows, self.columns, part.data.ctypes.data)
        return part

    def new_product(self) -> ProductStruct:
        """Returns parameters for the multiply operation, with only the matrix filled in."""
        return ProductStruct(matrix=ctypes.addressof(self.struct), parts=1)

    def _pack(self, tensor_format: int, parts: Sequence[Bytes], arena: Arena) -> Bytes:
        bits = FormatStruct.from_address(tensor_format).bits
        group_size = self.columns // BLOCK * GROUP * (BLOCK * bits // 8 + 2)
        packed = arena.allocate(self.rows // GROUP * group_size)
        total_size = sum(part.nbytes for part in parts)
        group = 0
        for part in parts:
            rows = self.rows * part.nbytes // total_size
            target = packed[group * group_size :].ctypes.data
            load_library().t5_pack(tensor_format, rows, self.columns, part.ctypes.data, target)
            group += rows // GROUP
        return packed


@cache
def load_library() -> Any:  # noqa: ANN401 - functions as attributes
    """Returns the library, or None if it was not compiled.

    Raises:
        ImportError: the library was compiled from another kernels.h.
    """
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None
    structs = (
        *(FormatStruct, MatrixStruct, ProductStruct, AttentionStruct),
        *(GreedyStepStruct, GreedyStruct),
    )
    sizes = [ctypes.sizeof(struct) for struct in structs]
    try:
        compiled_sizes = list((c_size_t * len(structs)).in_dll(library, "t5_struct_sizes"))
    except ValueError:  # no such symbol
        compiled_sizes = []
    if sizes != compiled_sizes:
        message = f"{LIBRARY} is of another version: install t5serve again, which compiles it"
        raise ImportError(message)
    library.t5_find_kernels.argtypes = [c_char_p]
    library.t5_find_kernels.restype = c_void_p
    library.t5_find_format.argtypes = [c_int64]
    library.t5_find_format.restype = c_void_p
    library.t5_pack.argtypes = [c_void_p, c_int64, c_int64, c_void_p, c_void_p]
    library.t5_pack.restype = None
    library.t5_are_finite.argtypes = [c_void_p, c_int64]
    library.t5_are_finite.restype = c_int32
    library.t5_find_highest.argtypes = [c_void_p, c_int64]
    library.t5_find_highest.restype = c_int64
    library.t5_run_greedily.argtypes = [c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_void_p]
    library.t5_run_greedily.restype = c_int64
    return library
