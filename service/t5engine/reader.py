"""Reads a GGUF file's header: PyPI's `gguf` makes a view per array element, which takes seconds.

Source: the format's description in ggml's docs/gguf.md. Little-endian, version 2 and later.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MALFORMED = (struct.error, KeyError, ValueError, MemoryError, OverflowError, RecursionError)
PLAIN = {0: "<f4", 1: "<f2"}  # ggml's F32 and F16
ALIGNMENT = 32  # unless the file says otherwise


class ReadError(ValueError):
    """Not a GGUF file, or one that ends early."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor in the file; shape as in numpy, (rows, columns); kind is ggml's type."""

    path: Path
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def nbytes(self) -> int:
        """Size in the file."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # noqa: PLC0415 - as below

        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(self.kind)]
        return int(np.prod(self.shape, dtype=np.int64)) // block * size

    def rows(self, indices: npt.NDArray[np.intp] | None = None) -> npt.NDArray[np.float32]:
        """Values of all rows, or of those asked for, as F32 of shape (rows, columns).

        Raises:
            ReadError: the file ends before the tensor does, or its type is unknown.
        """
        try:
            return self._rows(indices)
        except ValueError as error:
            raise ReadError(f"{self.path} can't be read: {error}") from error

    def _rows(self, indices: npt.NDArray[np.intp] | None) -> npt.NDArray[np.float32]:
        count = int(np.prod(self.shape[:-1], dtype=np.int64))
        if self.kind in PLAIN:
            stored = np.memmap(
                self.path, PLAIN[self.kind], "r", self.offset, (count, self.shape[-1])
            )
            return np.asarray(stored if indices is None else stored[indices], np.float32)
        # Here and not above: workers read F32 only, and `gguf` brings a second OpenMP along.
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # noqa: PLC0415
        from gguf.quants import dequantize  # noqa: PLC0415

        kind = GGMLQuantizationType(self.kind)
        block, size = GGML_QUANT_SIZES[kind]
        width = self.shape[-1] // block * size
        raw = np.memmap(self.path, np.uint8, "r", self.offset, (count, width))
        chosen = np.ascontiguousarray(raw if indices is None else raw[indices])
        return np.asarray(dequantize(chosen, kind), np.float32).reshape(len(chosen), -1)


@dataclass(frozen=True)
class GGUFFile:
    """Metadata and tensors of a file, by name."""

    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Reads the header.

        Raises:
            ReadError: not GGUF, or it ends within the header.
        """
        with path.open("rb") as file:
            try:
                return cls(*_read(path, file))
            except MALFORMED as error:
                raise ReadError(f"{path} is not a whole GGUF file: {error}") from error


def _read(path: Path, file: BinaryIO) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    magic, version, tensors, pairs = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version < 2:
        raise ValueError("wrong magic or version")
    metadata = {}
    for _ in range(pairs):
        key = _string(file)
        (kind,) = struct.unpack("<I", file.read(4))
        metadata[key] = _value(file, kind)
    entries = []
    for _ in range(tensors):
        name = _string(file)
        (rank,) = struct.unpack("<I", file.read(4))
        *shape, kind, offset = struct.unpack(f"<{rank}QIQ", file.read(8 * rank + 12))
        entries.append((name, tuple(reversed(shape)), kind, offset))
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError("a wrong alignment")
    start = (file.tell() + alignment - 1) // alignment * alignment
    return metadata, {
        name: StoredTensor(path, shape, kind, start + offset)
        for name, shape, kind, offset in entries
    }


def _value(file: BinaryIO, kind: int) -> Any:  # noqa: ANN401 - the file says of which type
    if kind == STRING:
        return _string(file)
    if kind != ARRAY:
        code = SCALARS[kind]
        return struct.unpack(f"<{code}", file.read(struct.calcsize(code)))[0]
    kind, count = struct.unpack("<IQ", file.read(12))
    if kind in (STRING, ARRAY):
        return [_value(file, kind) for _ in range(count)]
    dtype = np.dtype(f"<{SCALARS[kind]}")
    raw = file.read(count * dtype.itemsize)
    if len(raw) != count * dtype.itemsize:
        raise ValueError("an array ends early")
    return np.frombuffer(raw, dtype)


def _string(file: BinaryIO) -> str:
    (size,) = struct.unpack("<Q", file.read(8))
    raw = file.read(size)
    if len(raw) != size:
        raise ValueError("a string ends early")
    return raw.decode(errors="replace")
