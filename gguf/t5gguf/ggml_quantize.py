"""ggml's quantiser, called in this process: a value that ggml rejects may abort the process."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type

from t5gguf.errors import ConversionError
from t5gguf.weights import F32

Bytes = npt.NDArray[np.uint8]
LIBRARIES = ("libggml-base.so", "libggml-base.dylib")


def count_bytes(shape: tuple[int, ...], tensor_type: Type) -> int:
    """Returns the bytes that a tensor of that shape and type takes in the file."""
    block_values, block_bytes = GGML_QUANT_SIZES[tensor_type]
    return int(np.prod(shape)) // block_values * block_bytes


def quantize_rows(rows: F32, tensor_type: Type, importance: F32 | None = None) -> Bytes:
    """Quantises F32 values to ggml's bytes.

    Args:
        rows: the values, (rows, columns).
        tensor_type: the type of the result; the columns must be whole blocks of this type.
        importance: the weight of each column's squared error; ggml's own rule by default.
    """
    source = np.ascontiguousarray(rows, np.float32)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    target = np.empty(count_bytes(source.shape, tensor_type), np.uint8)
    written = _load_ggml_quantize_chunk()(
        tensor_type.value,
        source.ctypes.data,
        target.ctypes.data,
        0,
        *source.shape,
        None if weights is None else weights.ctypes.data,
    )
    if written != target.nbytes:
        raise ConversionError(
            f"ggml wrote {written} bytes of {tensor_type.name}, expected {target.nbytes}"
        )
    return target


@cache
def _load_ggml_quantize_chunk() -> ctypes._NamedFuncPointer:
    spec = find_spec("llama_cpp")  # not imported, since only its library is needed
    if spec is None or not spec.submodule_search_locations:
        raise ConversionError("llama-cpp-python is not installed: pip install llama-cpp-python")
    directory = Path(spec.submodule_search_locations[0]) / "lib"
    libraries = [directory / name for name in LIBRARIES if (directory / name).is_file()]
    if not libraries:
        raise ConversionError(
            f"{directory} has no {' or '.join(LIBRARIES)}: reinstall llama-cpp-python"
        )
    function = ctypes.CDLL(str(libraries[0])).ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [
        ctypes.c_int,  # type
        ctypes.c_void_p,  # source
        ctypes.c_void_p,  # target
        ctypes.c_int64,  # index of the first value
        ctypes.c_int64,  # rows
        ctypes.c_int64,  # values per row
        ctypes.c_void_p,  # importance matrix
    ]
    return function
