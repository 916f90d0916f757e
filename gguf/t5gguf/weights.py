"""The weight files of a checkpoint: safetensors or PyTorch, whole or in shards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.utility import LocalTensor, SafetensorsLocal

from t5engine.header import printable
from t5gguf.config import read_json_object
from t5gguf.errors import ConversionError
from t5gguf.pickled_weights import PickledFile, StridedTensor
from t5gguf.stray_files import describe_missing_weights

F32 = npt.NDArray[np.float32]

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class LazyTensor:
    """A tensor whose values are read when `load` is called.

    Attributes:
        name: the name in the checkpoint.
        shape: the shape as Hugging Face stores the tensor.
        dtype: the type in the file, by safetensors' name.
    """

    name: str
    shape: tuple[int, ...]
    _read: Callable[[], F32]
    dtype: str = "F32"

    @property
    def is_float(self) -> bool:
        """Whether the values are floats; a buffer of integers may be beside the weights."""
        return self.dtype in NUMPY_TYPES

    def load(self) -> F32:
        """Returns the values as F32, whatever the file's type is."""
        return self._read()


def find_weight_files(directory: Path) -> tuple[Path, ...]:
    """Returns the weight files of a checkpoint; safetensors files come before PyTorch's.

    Raises:
        ConversionError: the directory has no weights, or a shard of the index is missing.
    """
    for name in WEIGHT_FILES:
        if (directory / name).is_file():
            return (directory / name,)
        index = directory / f"{name}.index.json"
        if index.is_file():
            return _find_shards(directory, index)
    raise ConversionError(describe_missing_weights(directory, WEIGHT_FILES))


def _find_shards(directory: Path, index: Path) -> tuple[Path, ...]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(shard, str) for shard in weight_map.values()
    ):
        raise ConversionError(f"{index}: weight_map does not map tensors to files")
    shards = sorted(set(weight_map.values()))
    missing = [
        shard for shard in shards if Path(shard).name != shard or not (directory / shard).is_file()
    ]
    if missing or not shards:
        raise ConversionError(f"{index}: shards missing: {', '.join(missing) or 'all'}")
    return tuple(directory / shard for shard in shards)


def open_weights(file: Path) -> Iterator[LazyTensor]:
    """Yields the tensors of a weight file without reading their values.

    Raises:
        ConversionError: the file is not of its format.
    """
    return _open_safetensors(file) if file.suffix == ".safetensors" else _open_pickled(file)


def _open_safetensors(file: Path) -> Iterator[LazyTensor]:
    try:
        tensors: dict[str, LocalTensor] = SafetensorsLocal(file).tensors
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConversionError(f"{file} is not a safetensors file: {error!r}") from error
    with file.open("rb") as raw:
        data_start = 8 + int.from_bytes(raw.read(8), "little")
    for name, tensor in tensors.items():
        _check_safetensor(file, name, tensor, data_start)
        yield LazyTensor(name, tuple(tensor.shape), _make_safetensors_reader(tensor), tensor.dtype)


def _check_safetensor(file: Path, name: str, tensor: LocalTensor, data_start: int) -> None:
    """Checks that a tensor's bytes lie within the file and fit its shape and type."""
    offset, size = tensor.data_range.offset, tensor.data_range.size
    if not all(isinstance(number, int) and number >= 0 for number in (*tensor.shape, offset, size)):
        raise ConversionError(f"{file}: {name} has a shape or an offset that is no whole number")
    if not isinstance(tensor.dtype, str):
        raise ConversionError(f"{file}: {name} has type {tensor.dtype}, which is none")
    if offset + size > file.stat().st_size:
        raise ConversionError(f"{file} is truncated: {name} ends after the end of the file")
    if tensor.dtype not in NUMPY_TYPES:
        return  # never read
    expected = math.prod(tensor.shape) * np.dtype(NUMPY_TYPES[tensor.dtype]).itemsize
    if size != expected:
        raise ConversionError(f"{file}: {name} has {size} bytes, expected {expected}")
    if offset < data_start:
        raise ConversionError(f"{file} is not a safetensors file: {name} lies in the header")


def _make_safetensors_reader(tensor: LocalTensor) -> Callable[[], F32]:
    dtype = NUMPY_TYPES.get(tensor.dtype, "|u1")
    return lambda: _widen(tensor.mmap_bytes().view(dtype).reshape(tensor.shape), tensor.dtype)


def _widen(values: npt.NDArray[Any], dtype: str) -> F32:
    """Returns values as F32; BF16 comes as whole numbers, since numpy does not have it."""
    if dtype == "BF16":  # the upper half of an F32
        return (values.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):  # verification finds what became infinite
        return values.astype(np.float32)


def _open_pickled(file: Path) -> Iterator[LazyTensor]:
    pickled = PickledFile.open(file)
    state = pickled.content
    if not isinstance(state, dict):
        raise ConversionError(f"{file} does not map names to tensors")
    tensors = {str(n): value for n, value in state.items() if isinstance(value, StridedTensor)}
    if not tensors:
        raise ConversionError(
            f"{file} has no tensors, but {_name_keys(state)}: save model.state_dict() alone"
        )
    for name, tensor in tensors.items():
        read = partial(_read_pickled, pickled.map_tensor(name, tensor), tensor.dtype)
        yield LazyTensor(name, tensor.shape, read, tensor.dtype)


def _name_keys(state: Mapping[Any, object]) -> str:
    names = [str(name)[:40] for name in list(state)[:8]]
    return printable(", ".join(names + ["..."] * (len(state) > 8)) or "nothing")


def _read_pickled(map_values: Callable[[], npt.NDArray[Any]], dtype: str) -> F32:
    return _widen(map_values(), dtype)
