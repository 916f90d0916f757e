"""ggml's CPU backend where it is not linked in: a library for each generation of processors.

A portable build has them (GGML_BACKEND_DL and GGML_CPU_ALL_VARIANTS). llama.cpp looks for them
beside the program, which is Python here, and in the current directory; so the worker has to load
one. Source: ggml-backend-reg.cpp of the pinned llama-cpp-python.
"""

from __future__ import annotations

import os
from ctypes import c_char_p, c_int, c_void_p
from pathlib import Path

from t5engine.graph import ggml


def load_variant(directory: Path | None) -> None:
    """Has ggml load the variant that is best for this processor, unless one is linked in.

    Args:
        directory: of the variants; None: beside libllama.

    Raises:
        GgmlError: there is none that this processor can run.
    """
    directory = directory or ggml.LIBRARIES
    library = ggml.libllama()
    find_device = library["ggml_backend_dev_by_type"]
    find_device.restype, find_device.argtypes = c_void_p, [c_int]
    if find_device(ggml.CPU_DEVICE):
        return
    load = library["ggml_backend_load_all_from_path"]
    load.restype, load.argtypes = None, [c_char_p]
    load(os.fsencode(directory))
    if not find_device(ggml.CPU_DEVICE):
        raise ggml.GgmlError(
            f"{directory} has no CPU backend of ggml that this processor can run, and none is "
            "linked in: T5SERVE_GGML_BACKENDS names a directory that has"
        )
