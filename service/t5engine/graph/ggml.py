"""Bindings to ggml's public C API through ctypes, on the libraries that llama-cpp-python ships.

The bindings cover only the functions that the graph backend calls. Tensors, contexts, buffers and
backends are opaque addresses. A failed assertion of ggml ends the process, so callers check shapes
and types.
Source: ggml.h, ggml-alloc.h and ggml-backend.h of the pinned llama-cpp-python.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Hashable
from ctypes import c_bool, c_char_p, c_float, c_int, c_int64, c_size_t, c_uint8, c_void_p
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llama_cpp

from t5engine.graph.threads import ThreadChooser

F32, I32, I64 = 0, 26, 27  # enum ggml_type
CPU_DEVICE = 0  # enum ggml_backend_dev_type
STATUS_SUCCESS = 0
WEIGHTS_USAGE = 1  # enum ggml_backend_buffer_usage
ALL_THREADS = -1  # GGML_N_TASKS_MAX

LIBRARY_DIRECTORY = Path(llama_cpp.__file__).parent / "lib"

Tensor = int
"""The address of a ggml_tensor."""


class GgmlError(Exception):
    """The libraries are not those that this code was written for, or a call failed."""


class InitParams(ctypes.Structure):
    """struct ggml_init_params."""

    _fields_ = (("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool))


class TensorHead(ctypes.Structure):
    """The first fields of struct ggml_tensor."""

    _fields_ = (("type", c_int), ("buffer", c_void_p))


_T, _P = c_void_p, c_void_p
# name: (result, arguments)
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "ggml_init": (_P, [InitParams]),
    "ggml_free": (None, [_P]),
    "ggml_tensor_overhead": (c_size_t, []),
    "ggml_graph_overhead_custom": (c_size_t, [c_size_t, c_bool]),
    "ggml_type_size": (c_size_t, [c_int]),
    "ggml_blck_size": (c_int64, [c_int]),
    "ggml_get_data": (c_void_p, [_T]),
    "ggml_nbytes": (c_size_t, [_T]),
    "ggml_set_input": (None, [_T]),
    "ggml_set_output": (None, [_T]),
    "ggml_new_tensor_1d": (_T, [_P, c_int, c_int64]),
    "ggml_new_tensor_2d": (_T, [_P, c_int, c_int64, c_int64]),
    "ggml_new_tensor_4d": (_T, [_P, c_int, c_int64, c_int64, c_int64, c_int64]),
    "ggml_view_2d": (_T, [_P, _T, c_int64, c_int64, c_size_t, c_size_t]),
    "ggml_view_4d": (_T, [_P, _T, *[c_int64] * 4, *[c_size_t] * 4]),
    "ggml_reshape_2d": (_T, [_P, _T, c_int64, c_int64]),
    "ggml_permute": (_T, [_P, _T, c_int, c_int, c_int, c_int]),
    "ggml_cont_2d": (_T, [_P, _T, c_int64, c_int64]),
    "ggml_add": (_T, [_P, _T, _T]),
    "ggml_mul": (_T, [_P, _T, _T]),
    "ggml_mul_mat": (_T, [_P, _T, _T]),
    "ggml_out_prod": (_T, [_P, _T, _T]),
    "ggml_rms_norm": (_T, [_P, _T, c_float]),
    "ggml_relu": (_T, [_P, _T]),
    "ggml_geglu": (_T, [_P, _T]),
    "ggml_geglu_split": (_T, [_P, _T, _T]),
    "ggml_soft_max_ext": (_T, [_P, _T, _T, c_float, c_float]),
    "ggml_get_rows": (_T, [_P, _T, _T]),
    "ggml_set_rows": (_T, [_P, _T, _T, _T]),
    "ggml_custom_4d": (_T, [_P, c_int, *[c_int64] * 4, _P, c_int, _P, c_int, _P]),
    "ggml_new_graph_custom": (_P, [_P, c_size_t, c_bool]),
    "ggml_build_forward_expand": (None, [_P, _T]),
    "ggml_gallocr_new": (_P, [_P]),
    "ggml_gallocr_free": (None, [_P]),
    "ggml_gallocr_alloc_graph": (c_bool, [_P, _P]),
    "ggml_gallocr_get_buffer_size": (c_size_t, [_P, c_int]),
    "ggml_backend_alloc_ctx_tensors_from_buft": (_P, [_P, _P]),
    "ggml_backend_buft_alloc_buffer": (_P, [_P, c_size_t]),
    "ggml_backend_buft_name": (c_char_p, [_P]),
    "ggml_backend_buffer_clear": (None, [_P, c_uint8]),
    "ggml_backend_buffer_free": (None, [_P]),
    "ggml_backend_buffer_get_size": (c_size_t, [_P]),
    "ggml_backend_buffer_set_usage": (None, [_P, c_int]),
    "ggml_backend_tensor_alloc": (c_int, [_P, _T, c_void_p]),
    "ggml_backend_tensor_set": (None, [_T, c_void_p, c_size_t, c_size_t]),
    "ggml_backend_graph_compute": (c_int, [_P, _P]),
    "ggml_backend_dev_init": (_P, [_P, c_char_p]),
    "ggml_backend_dev_buffer_type": (_P, [_P]),
    "ggml_backend_dev_buffer_from_host_ptr": (_P, [_P, c_void_p, c_size_t, c_size_t]),
    "ggml_backend_dev_backend_reg": (_P, [_P]),
    "ggml_backend_dev_supports_op": (c_bool, [_P, _T]),
    "ggml_backend_reg_get_proc_address": (c_void_p, [_P, c_char_p]),
    "ggml_backend_dev_by_type": (_P, [c_int]),
}


@cache
def load() -> Any:  # noqa: ANN401 - functions as attributes
    """Returns the functions above as attributes of one object.

    Raises:
        GgmlError: a library or a symbol is missing; the message names it.
    """
    library = open_libllama()
    missing = [name for name in _FUNCTIONS if not hasattr(library, name)]
    if missing:
        raise GgmlError(
            f"the libraries of llama-cpp-python lack {', '.join(missing)}: "
            "is the pinned version installed?"
        )
    functions = SimpleNamespace()
    for name, (result, arguments) in _FUNCTIONS.items():
        function = library[name]
        function.restype, function.argtypes = result, arguments
        setattr(functions, name, function)
    return functions


def open_libllama() -> ctypes.CDLL:
    """Returns libllama, which also gives access to the symbols of the libraries it links to.

    Those libraries are not opened by name: the package has each in several files. Opening another
    file than libllama did would load a second copy, with a separate registry.

    Raises:
        GgmlError: the package has no libllama.
    """
    for name in ("libllama.so", "libllama.dylib"):
        if (LIBRARY_DIRECTORY / name).is_file():
            return ctypes.CDLL(str(LIBRARY_DIRECTORY / name))
    raise GgmlError(f"{LIBRARY_DIRECTORY} has no libllama")


class Cpu:
    """The CPU device from ggml's registry, and a backend on that device.

    Attributes:
        compute_function: the address of ggml_backend_graph_compute.
        set_threads_function: the address of the function that sets a backend's threads.
        threads: chooses how many threads compute a graph.
    """

    def __init__(self, threads: int) -> None:
        self.ggml = load()
        self.device = self.ggml.ggml_backend_dev_by_type(CPU_DEVICE)
        if not self.device:
            raise GgmlError("ggml has no CPU device")
        self.backend = self.ggml.ggml_backend_dev_init(self.device, None)
        self.buffer_type = self.ggml.ggml_backend_dev_buffer_type(self.device)
        compute = ctypes.cast(self.ggml.ggml_backend_graph_compute, c_void_p)
        self.compute_function = int(compute.value or 0)
        self.set_threads_function = self._find_function("ggml_backend_set_n_threads")
        self._set_threads = ctypes.CFUNCTYPE(None, c_void_p, c_int)(self.set_threads_function)
        self.threads = ThreadChooser(threads)
        self._set_threads(self.backend, threads)

    def limit_threads(self, threads: int) -> None:
        """Computes with at most so many threads from now on."""
        self.threads = ThreadChooser(threads)

    def compute(self, graph: int, shape_key: Hashable) -> None:
        """Computes a graph, and measures how many threads are best for its shape.

        Raises:
            GgmlError: ggml reports a failure.
        """
        self._set_threads(self.backend, self.threads.choose(shape_key))
        started = time.perf_counter()
        status = self.ggml.ggml_backend_graph_compute(self.backend, graph)
        self.threads.record(shape_key, time.perf_counter() - started)
        if status != STATUS_SUCCESS:
            raise GgmlError(f"ggml_backend_graph_compute returned {status}")

    def find_repack_type(self) -> int | None:
        """Returns the buffer type that repacks weights for this CPU's kernels, if ggml has one."""
        list_types = ctypes.CFUNCTYPE(ctypes.POINTER(c_void_p), c_void_p)(
            self._find_function("ggml_backend_dev_get_extra_bufts")
        )
        types = list_types(self.device)
        index = 0
        while types and types[index]:
            if self.ggml.ggml_backend_buft_name(types[index]) == b"CPU_REPACK":
                return int(types[index])
            index += 1
        return None

    def _find_function(self, name: str) -> int:
        registry = self.ggml.ggml_backend_dev_backend_reg(self.device)
        address = self.ggml.ggml_backend_reg_get_proc_address(registry, name.encode())
        if not address:
            raise GgmlError(f"ggml's CPU backend lacks {name}")
        return int(address)


class Context:
    """A ggml_context for the metadata of `tensors` tensors and `graph` nodes, without data."""

    def __init__(self, tensors: int, graph: int = 0) -> None:
        self.ggml = load()
        size = tensors * self.ggml.ggml_tensor_overhead()
        if graph:
            gradients = False
            size += self.ggml.ggml_graph_overhead_custom(graph, gradients)
        self.size = int(size)
        self.address = self.ggml.ggml_init(InitParams(mem_size=size, no_alloc=True))
        if not self.address:
            raise GgmlError("ggml_init failed")

    def close(self) -> None:
        """Frees the metadata."""
        self.ggml.ggml_free(self.address)
