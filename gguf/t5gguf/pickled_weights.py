"""Reads pytorch_model.bin without PyTorch: names, shapes and places of tensors.

Source of both formats: torch/serialization.py, torch/_utils.py. A file since PyTorch 1.6 is a zip
archive of a pickle and a file per storage; an older one is a row of pickles, then the storages.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from t5engine.header import printable
from t5gguf.errors import ConversionError

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file before 1.6
PROTOCOL = 1001  # the second
Stream: TypeAlias = mmap | io.BytesIO
LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip archive's member: the lengths of name and extra
STORAGES = {  # numpy's types, with safetensors' names
    "DoubleStorage": ("<f8", "F64"),
    "FloatStorage": ("<f4", "F32"),
    "HalfStorage": ("<f2", "F16"),
    "BFloat16Storage": ("<u2", "BF16"),
    "LongStorage": ("<i8", "I64"),
    "IntStorage": ("<i4", "I32"),
    "ShortStorage": ("<i2", "I16"),
    "CharStorage": ("|i1", "I8"),
    "ByteStorage": ("|u1", "U8"),
    "BoolStorage": ("|b1", "BOOL"),
}


@dataclass(frozen=True)
class Storage:
    """The values that one or several tensors are views of.

    Attributes:
        key: the storage's name in the file.
        kind: a key of `STORAGES`.
        length: the number of values.
    """

    key: str
    kind: str
    length: int


@dataclass(frozen=True)
class StridedTensor:
    """A view of a storage; offset and strides count values, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """The type of the values, by safetensors' name."""
        return STORAGES[self.storage.kind][1]

    @property
    def is_inside(self) -> bool:
        """Whether the view lies within its storage, and has no more values than that."""
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or not all(
            type(number) is int and number >= 0 for number in numbers
        ):
            return False
        if 0 in self.shape:
            return True
        steps = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((length - 1) * step for length, step in steps)
        return last < self.storage.length and math.prod(self.shape) <= self.storage.length


@dataclass(frozen=True)
class PickledFile:
    """What a file holds, without the values.

    Attributes:
        content: the pickled object; tensors in it are of `StridedTensor`.
        starts: the byte at which each storage begins, by its key.
    """

    path: Path
    content: object
    starts: dict[str, int]

    @classmethod
    def open(cls, path: Path) -> PickledFile:
        """Reads the pickle of a file.

        Raises:
            ConversionError: the file is of neither format, is truncated, or has objects that are
                no tensors.
        """
        try:
            read = _read_archive if zipfile.is_zipfile(path) else _read_legacy
            with path.open("rb") as file:
                return cls(path, *read(file))
        except ForeignObjectError as error:
            raise ConversionError(
                f"{path} has an object of {printable(str(error))}, but only plain tensors are "
                "read: save model.state_dict() alone, of float weights"
            ) from error
        except Exception as error:  # a pickle can raise anything
            reason = printable(str(error).partition("\n")[0])
            raise ConversionError(f"{path} is not a PyTorch checkpoint: {reason}") from error

    def map_tensor(self, name: str, tensor: StridedTensor) -> Callable[[], npt.NDArray[Any]]:
        """Returns a function that maps a tensor's values.

        Raises:
            ConversionError: the tensor ends after its storage or after the file.
        """
        storage, name = tensor.storage, printable(name)
        numpy_type = np.dtype(STORAGES[storage.kind][0])
        start = self.starts.get(storage.key)
        end = (start or 0) + storage.length * numpy_type.itemsize
        if start is None or end > self.path.stat().st_size:
            raise ConversionError(
                f"{self.path} is truncated: {name} ends after the end of the file"
            )
        if not tensor.is_inside:
            raise ConversionError(f"{self.path}: {name} ends after its storage")

        def read() -> npt.NDArray[Any]:
            if 0 in tensor.shape:
                return np.empty(tensor.shape, numpy_type)
            values = np.memmap(self.path, numpy_type, "r", start, (storage.length,))
            return np.lib.stride_tricks.as_strided(
                values[tensor.offset :],
                tensor.shape,
                [stride * numpy_type.itemsize for stride in tensor.strides],
                writeable=False,
            )

        return read


# Opcodes that no state needs. The first claims any amount of memory, others need more than a file.
REFUSED_OPCODES = {"BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "EXT1", "EXT2", "EXT4"}
MEMO_OPCODES = {"PUT", "BINPUT", "LONG_BINPUT"}


class ForeignObjectError(Exception):
    """The pickle names a class or function that no tensor needs; the message is its name."""


class _Unpickler(pickle.Unpickler):
    """Builds tensors, mappings and plain values, and calls nothing else that a pickle names."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as the base class
        if module == "torch" and name in STORAGES:
            return name
        if (module, name) not in ALLOWED:
            raise ForeignObjectError(f"{module}.{name}")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Storage:  # noqa: ANN401 - as the base class
        kind, storage_type, key, _, length, *view = pid
        if kind != "storage" or storage_type not in STORAGES or type(length) is not int:
            raise ValueError(f"a storage is described by {str(pid)[:60]}")
        if any(view):
            raise ValueError("a storage is a view of another one")
        return Storage(str(key), storage_type, length)


def _rebuild_tensor(
    storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> StridedTensor:
    if not isinstance(storage, Storage):
        raise TypeError("a tensor has no storage")
    return StridedTensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: StridedTensor, *_: object) -> StridedTensor:
    return data


ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
}


def _check_opcodes(file: Stream) -> None:
    """Checks a pickle at the file's position, to which it returns, for claims of memory.

    The unpickler's memo is an array, so one large index would take gigabytes.

    Raises:
        ValueError: the pickle is malformed, or has an opcode that no state needs.
    """
    start = file.tell()
    operations = pickletools.genops(file)  # type: ignore[arg-type] # it reads and tells, as a file
    for count, (opcode, argument, _) in enumerate(operations):
        if opcode.name in REFUSED_OPCODES:
            raise ValueError(f"its pickle has the opcode {opcode.name}")
        if opcode.name in MEMO_OPCODES and int(argument or 0) > count:
            raise ValueError(f"its pickle has a memo of {argument} objects")
    file.seek(start)


def _unpickle(file: Stream) -> Any:  # noqa: ANN401 - whatever the pickle has
    _check_opcodes(file)
    return _Unpickler(file).load()


def _read_archive(file: BinaryIO) -> tuple[object, dict[str, int]]:
    """Reads a file since PyTorch 1.6; storages are archive members, not compressed."""
    starts = {}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        (pickled,) = [m for m in members if m.filename.endswith("/data.pkl")]
        root = pickled.filename.removesuffix("data.pkl")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its archive is compressed")
        orders = [archive.read(m) for m in members if m.filename == f"{root}byteorder"]
        if orders not in ([], [b"little"]):
            raise ValueError("it is of a big-endian machine")
        content = _unpickle(io.BytesIO(archive.read(pickled)))
    for member in members:
        if member.filename.startswith(f"{root}data/"):
            starts[member.filename.removeprefix(f"{root}data/")] = _find_data(file, member)
    return content, starts


def _find_data(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    file.seek(member.header_offset)
    lengths: tuple[int, int] = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    return int(member.header_offset) + LOCAL_HEADER.size + sum(lengths)


def _read_legacy(file: BinaryIO) -> tuple[object, dict[str, int]]:
    """Reads a file before PyTorch 1.6: magic, protocol, machine, object, keys, then storages."""
    # A mapped file never reads more than there is, whatever length a pickle claims.
    with mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
        if _unpickle(mapped) != MAGIC or _unpickle(mapped) != PROTOCOL:
            raise ValueError("it has neither the format since PyTorch 1.6 nor the one before")
        if not _unpickle(mapped)["little_endian"]:
            raise ValueError("it is of a big-endian machine")
        _check_opcodes(mapped)
        unpickler = _LegacyUnpickler(mapped)
        content = unpickler.load()
        keys = _unpickle(mapped)
        return content, dict(_place_storages(mapped, keys, unpickler.storages))


class _LegacyUnpickler(_Unpickler):
    """Also keeps the storages, whose values follow in the file."""

    def __init__(self, file: mmap) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def persistent_load(self, pid: Any) -> Storage:  # noqa: ANN401 - as the base class
        storage = super().persistent_load(pid)
        self.storages[storage.key] = storage
        return storage


def _place_storages(
    file: mmap, keys: list[str], storages: dict[str, Storage]
) -> Iterator[tuple[str, int]]:
    """Yields where each storage begins; a number of eight bytes before it counts its values."""
    for key in keys:
        storage = storages[str(key)]
        (length,) = struct.unpack("<q", file.read(8))
        if length != storage.length:
            raise ValueError(f"storage {key} has {length} values, expected {storage.length}")
        start = file.tell()
        yield str(key), start
        file.seek(start + length * np.dtype(STORAGES[storage.kind][0]).itemsize)
