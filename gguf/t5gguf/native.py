"""ggml's own quantiser, called in this process: a value that it can't take may abort it."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type

from t5gguf.checkpoint import F32
from t5gguf.errors import ConversionError

Bytes = npt.NDArray[np.uint8]


def nbytes(shape: tuple[int, ...], kind: Type) -> int:
    """Size of a tensor of that type in the file."""
    block, size = GGML_QUANT_SIZES[kind]
    return int(np.prod(shape)) // block * size


def quantize_rows(rows: F32, kind: Type, importance: F32 | None = None) -> Bytes:
    """Quantises (rows, columns) F32 to ggml's bytes.

    Args:
        rows: what to quantise.
        kind: to what; columns are whole blocks of it.
        importance: the weight of each column's squared error; without any, ggml's own rule.
    """
    source = np.ascontiguousarray(rows, np.float32)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    target = np.empty(nbytes(source.shape, kind), np.uint8)
    written = _ggml_quantize_chunk()(
        kind.value,
        source.ctypes.data,
        target.ctypes.data,
        0,
        *source.shape,
        None if weights is None else weights.ctypes.data,
    )
    if written != target.nbytes:
        raise ConversionError(
            f"ggml wrote {written} bytes of {kind.name}, expected {target.nbytes}"
        )
    return target


@cache
def _ggml_quantize_chunk() -> ctypes._NamedFuncPointer:
    spec = find_spec("llama_cpp")  # found, not imported: only its library is wanted
    if spec is None or not spec.submodule_search_locations:
        raise ConversionError("llama-cpp-python is not installed")
    directory = Path(spec.submodule_search_locations[0]) / "lib"
    names = ("libggml-base.so", "libggml-base.dylib")
    found = [directory / name for name in names if (directory / name).is_file()]
    if not found:
        raise ConversionError(f"{directory} has no {' or '.join(names)}")
    function = ctypes.CDLL(str(found[0])).ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [
        ctypes.c_int,  # type
        ctypes.c_void_p,  # source
        ctypes.c_void_p,  # target
        ctypes.c_int64,  # first value
        ctypes.c_int64,  # rows
        ctypes.c_int64,  # values per row
        ctypes.c_void_p,  # importance matrix
    ]
    return function
