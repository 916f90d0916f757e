"""Loads ggml's CPU backend where it is not linked in: one library per generation of processors.

A portable build has these libraries (GGML_BACKEND_DL and GGML_CPU_ALL_VARIANTS). llama.cpp searches
the directory of the program, which is Python here, and the current directory. So the worker has to
load one. Source: ggml-backend-reg.cpp of the pinned llama-cpp-python.
"""

from __future__ import annotations

import os
from ctypes import c_char_p, c_int, c_void_p
from pathlib import Path

from t5engine.graph import ggml


def load_variant(directory: Path | None) -> None:
    """Loads the CPU backend that suits this processor best, unless one is linked in.

    Args:
        directory: where the CPU backends are; None: beside libllama.

    Raises:
        GgmlError: the directory has no CPU backend that this processor can run.
    """
    directory = directory or ggml.LIBRARY_DIRECTORY
    library = ggml.open_libllama()
    find_device = library["ggml_backend_dev_by_type"]
    find_device.restype, find_device.argtypes = c_void_p, [c_int]
    if find_device(ggml.CPU_DEVICE):
        return
    load_backends = library["ggml_backend_load_all_from_path"]
    load_backends.restype, load_backends.argtypes = None, [c_char_p]
    load_backends(os.fsencode(directory))
    if not find_device(ggml.CPU_DEVICE):
        raise ggml.GgmlError(
            f"{directory} has no CPU backend of ggml that this processor can run, and none is "
            "linked in; set T5SERVE_GGML_BACKENDS to a directory that has one"
        )
