"""Reads GGUF files: the header, and rows of tensors.

PyPI's `gguf` creates a view per array element, which takes seconds. Source: the description of the
format in ggml's docs/gguf.md. Supports little-endian files of version 2 and later.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

SCALAR_FORMATS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MALFORMED_ERRORS = (struct.error, KeyError, ValueError, MemoryError, OverflowError, RecursionError)
FLOAT_DTYPES = {0: "<f4", 1: "<f2"}  # ggml's F32 and F16
MAX_RANK = 4  # ggml's
ALIGNMENT = 32  # unless the file says otherwise


class ReadError(ValueError):
    """The file is not GGUF, or ends early."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        path: the file.
        shape: in numpy's order, (rows, columns).
        tensor_type: number of enum ggml_type.
        offset: bytes from the start of the file.
    """

    path: Path
    shape: tuple[int, ...]
    tensor_type: int
    offset: int

    @property
    def nbytes(self) -> int:
        """Size in the file, in bytes."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # noqa: PLC0415 - see below

        block_size, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(self.tensor_type)]
        return int(np.prod(self.shape, dtype=np.int64)) // block_size * block_bytes

    def read_rows(self, indices: npt.NDArray[np.intp] | None = None) -> npt.NDArray[np.float32]:
        """Returns the values of all rows, or of the requested ones, as F32 (rows, columns).

        Raises:
            ReadError: the file ends before the tensor does, or the tensor's type is unknown.
        """
        try:
            return self._dequantize(indices)
        except ValueError as error:
            raise ReadError(f"{self.path} can't be read: {error}") from error

    def _dequantize(self, indices: npt.NDArray[np.intp] | None) -> npt.NDArray[np.float32]:
        count = int(np.prod(self.shape[:-1], dtype=np.int64))
        if self.tensor_type in FLOAT_DTYPES:
            stored = np.memmap(
                self.path, FLOAT_DTYPES[self.tensor_type], "r", self.offset, (count, self.shape[-1])
            )
            return np.asarray(stored if indices is None else stored[indices], np.float32)
        # Imported late: workers read F32 only, and `gguf` loads a second OpenMP.
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # noqa: PLC0415
        from gguf.quants import dequantize  # noqa: PLC0415

        tensor_type = GGMLQuantizationType(self.tensor_type)
        block_size, block_bytes = GGML_QUANT_SIZES[tensor_type]
        row_bytes = self.shape[-1] // block_size * block_bytes
        raw = np.memmap(self.path, np.uint8, "r", self.offset, (count, row_bytes))
        selected = np.ascontiguousarray(raw if indices is None else raw[indices])
        return np.asarray(dequantize(selected, tensor_type), np.float32).reshape(len(selected), -1)


@dataclass(frozen=True)
class GGUFFile:
    """The metadata of a file by key, and its tensors by name."""

    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Reads the header.

        Raises:
            ReadError: the file is not GGUF, or ends within the header.
        """
        with path.open("rb") as file:
            try:
                return cls(*_read_header(path, file))
            except MALFORMED_ERRORS as error:
                reason = str(error) if isinstance(error, ValueError) else "it ends early"
                raise ReadError(f"{path} is not a whole GGUF file: {reason}") from error


def _read_header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    magic, version, tensor_count, key_count = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version < 2:
        raise ValueError("wrong magic or version")
    metadata = {}
    for _ in range(key_count):
        key = _read_string(file)
        (value_type,) = struct.unpack("<I", file.read(4))
        metadata[key] = _read_value(file, value_type)
    entries = []
    for _ in range(tensor_count):
        name = _read_string(file)
        (rank,) = struct.unpack("<I", file.read(4))
        if rank > MAX_RANK:
            raise ValueError(f"a tensor has {rank} dimensions")
        *shape, tensor_type, offset = struct.unpack(f"<{rank}QIQ", file.read(8 * rank + 12))
        entries.append((name, tuple(reversed(shape)), tensor_type, offset))
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError("invalid alignment")
    start = (file.tell() + alignment - 1) // alignment * alignment
    return metadata, {
        name: StoredTensor(path, shape, tensor_type, start + offset)
        for name, shape, tensor_type, offset in entries
    }


def _read_value(file: BinaryIO, value_type: int) -> Any:  # noqa: ANN401 - the file has the type
    if value_type == STRING:
        return _read_string(file)
    if value_type != ARRAY:
        code = _find_format(value_type)
        return struct.unpack(f"<{code}", file.read(struct.calcsize(code)))[0]
    item_type, count = struct.unpack("<IQ", file.read(12))
    if item_type in (STRING, ARRAY):
        return [_read_value(file, item_type) for _ in range(count)]
    dtype = np.dtype(f"<{_find_format(item_type)}")
    raw = file.read(count * dtype.itemsize)
    if len(raw) != count * dtype.itemsize:
        raise ValueError("an array ends early")
    return np.frombuffer(raw, dtype)


def _find_format(value_type: int) -> str:
    if value_type not in SCALAR_FORMATS:
        raise ValueError(f"a value is of the unknown type {value_type}")
    return SCALAR_FORMATS[value_type]


def _read_string(file: BinaryIO) -> str:
    (size,) = struct.unpack("<Q", file.read(8))
    raw = file.read(size)
    if len(raw) != size:
        raise ValueError("a string ends early")
    return raw.decode(errors="replace")
