"""The weight files of a checkpoint: safetensors or PyTorch, whole or in shards."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.utility import LocalTensor, SafetensorsLocal

from t5gguf.config import read_json_object
from t5gguf.errors import ConversionError
from t5gguf.stray_files import describe_missing_weights

F32 = npt.NDArray[np.float32]

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
ITEM_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes per value


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
        return self.dtype in ITEM_SIZES

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
    return _open_safetensors(file) if file.suffix == ".safetensors" else _open_torch(file)


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
    if tensor.dtype not in ITEM_SIZES:
        return  # never read
    expected = math.prod(tensor.shape) * ITEM_SIZES[tensor.dtype]
    if size != expected:
        raise ConversionError(f"{file}: {name} has {size} bytes, expected {expected}")
    if offset < data_start:
        raise ConversionError(f"{file} is not a safetensors file: {name} lies in the header")


def _make_safetensors_reader(tensor: LocalTensor) -> Callable[[], F32]:
    def read() -> F32:
        raw = tensor.mmap_bytes()
        if tensor.dtype == "BF16":  # the upper half of an F32
            bits = raw.view("<u2").astype(np.uint32) << 16
            return bits.view(np.float32).reshape(tensor.shape)
        dtype = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[tensor.dtype]
        return raw.view(dtype).reshape(tensor.shape).astype(np.float32)

    return read


def _open_torch(file: Path) -> Iterator[LazyTensor]:
    try:
        import torch  # noqa: PLC0415 - an extra, needed for this file format alone
    except ImportError as error:
        raise ConversionError(
            f"reading {file.name} needs torch: pip install 't5serve[torch]', "
            "or save the checkpoint as safetensors"
        ) from error
    try:
        # Files of PyTorch before 1.6 are no archives, and can't be mapped.
        state = torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ConversionError(f"{file} is not a PyTorch checkpoint: {reason}") from error
    if not isinstance(state, dict):
        raise ConversionError(f"{file} does not map names to tensors")
    if not any(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ConversionError(
            f"{file} has no tensors, but {', '.join(map(str, state))}: "
            "save model.state_dict() alone"
        )
    for name, tensor in state.items():
        if isinstance(tensor, torch.Tensor):
            dtype = "F32" if tensor.is_floating_point() else str(tensor.dtype)
            shape = tuple(tensor.shape)
            yield LazyTensor(str(name), shape, _make_torch_reader(tensor), dtype)


def _make_torch_reader(tensor: Any) -> Callable[[], F32]:  # noqa: ANN401 - torch is an extra
    return lambda: np.asarray(tensor.detach().float().numpy())  # a Parameter asks for detach
