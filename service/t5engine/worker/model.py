"""A loaded GGUF file: backend, vocabulary, and what the file says of itself."""

from __future__ import annotations

import ctypes
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import llama_cpp

from t5engine.backend import Backend
from t5engine.graph.ggml import GgmlError
from t5engine.graph.graph_backend import GraphBackend
from t5engine.graph.variants import load_variant
from t5engine.messages import ModelInfo
from t5engine.worker.llama_backend import LlamaBackend
from t5engine.worker.tied import head_is_tied
from t5engine.worker.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

GGUF_MAGIC = b"GGUF"
GGML_LOG_LEVEL_ERROR = 4  # ggml.h


class LoadError(Exception):
    """The file can't be served; one line says why."""


@dataclass(frozen=True)
class Model:
    """What a worker decodes with."""

    backend: Backend
    vocabulary: Vocabulary
    start_token: int
    info: ModelInfo


def load(
    path: Path,
    *,
    threads: int,
    max_input_tokens: int,
    max_tokens: int,
    logit_scale: float | None,
    backend: Literal["auto", "graph", "llama"],
    rows: int,
    ggml_backends: Path | None = None,
    own_kernels: bool = True,
) -> Model:
    """Maps the file and makes a backend for it.

    Args:
        path: the GGUF file.
        threads: of every native call.
        max_input_tokens: longest encoder input.
        max_tokens: most decoder inputs.
        logit_scale: factor on the file's logits; None: as the file says.
        backend: which one; auto: graph, or llama for a file that graph refuses.
        rows: sequences that are decoded at once.
        ggml_backends: directory of ggml's CPU backends, if none is linked in; None: by libllama.
        own_kernels: whether the graph multiplies with our own kernels where they can be used.

    Raises:
        LoadError: missing, not GGUF, truncated, not a T5, or a T5 that the backend can't compute.
    """
    _check_magic(path)
    try:
        load_variant(ggml_backends)  # before llama.cpp looks for backends itself
    except GgmlError as error:
        raise LoadError(str(error)) from error
    if backend != "llama":
        try:
            file = _File(path, vocab_only=True)
            made = GraphBackend(
                path,
                n_vocab=file.n_vocab,
                logit_scale=logit_scale or file.logit_scale(),
                max_input_tokens=max_input_tokens,
                max_tokens=max_tokens,
                threads=threads,
                rows=rows,
                own_kernels=own_kernels,
            )
            return file.model(made)
        except GgmlError as error:
            if backend == "graph":
                raise LoadError(f"{path}: {error}") from error
            logger.warning("%s: %s; served by llama.cpp's own graph", path, error)
    file = _File(path, vocab_only=False)
    distance = file.metadata.get("t5serve.relative_attention_max_distance", "128")
    if distance != "128":
        raise LoadError(f"{path}: its relative attention reaches {distance}, llama.cpp's 128")
    return file.model(
        LlamaBackend(
            file.native,
            n_vocab=file.n_vocab,
            logit_scale=logit_scale or file.logit_scale(),
            max_input_tokens=max_input_tokens,
            max_tokens=max_tokens,
            threads=threads,
            rows=rows,
        )
    )


def compiled_features() -> list[str]:
    """Features of the processor that ggml's kernels were compiled for, by its names."""
    told = bytes(llama_cpp.llama_print_system_info()).decode()  # "CPU : AVX2 = 1 | FMA = 1 | "
    return re.findall(r"(\w+) = 1", told)


class _File:
    """A GGUF file as llama.cpp loads it, with its weights or without."""

    def __init__(self, path: Path, *, vocab_only: bool) -> None:
        self._path = path
        llama_cpp.llama_log_set(_complaint.callback, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.use_mmap = True
        params.n_gpu_layers = 0
        params.vocab_only = vocab_only
        self.native = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self.native:
            reason = _complaint.text or "no reason given"
            raise LoadError(f"{path}: llama.cpp can't load it: {reason}")
        self.metadata = _metadata(self.native)
        architecture = self.metadata.get("general.architecture", "")
        if architecture != "t5":
            raise LoadError(f"{path}: its architecture is {architecture!r}, this service takes t5")
        rows = int(llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.native)))
        self.n_vocab = int(self.metadata.get("t5serve.vocab_size", rows))  # the rest is padding

    def logit_scale(self) -> float:
        """1 for a calibrated file; d_model^-0.5 for a tied one by another converter."""
        if self.metadata.get("t5serve.logits_calibrated") == "true":
            return 1.0
        if head_is_tied(self._path):
            return float(int(self.metadata["t5.embedding_length"]) ** -0.5)
        return 1.0

    def model(self, backend: Backend) -> Model:
        """The file with its backend."""
        ours = {key: text for key, text in self.metadata.items() if key.startswith("t5serve.")}
        info = ModelInfo(
            name=self.metadata.get("general.name", self._path.stem),
            description=f"{self._path.name}, {backend.name} backend, {backend.kernels}",
            n_vocab=self.n_vocab,
            max_input_tokens=backend.max_input_tokens,
            max_tokens=backend.max_tokens,
            metadata=ours,
        )
        start = int(self.metadata.get("t5.decoder_start_token_id", 0))
        return Model(backend, Vocabulary(self.native, self.n_vocab), start, info)


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from error
    if magic != GGUF_MAGIC:
        raise LoadError(f"{path} is not a GGUF file")


def _metadata(native: Any) -> dict[str, str]:  # noqa: ANN401 - an opaque pointer
    """Every key of the file but the long arrays of the tokenizer."""
    pairs = {}
    for index in range(llama_cpp.llama_model_meta_count(native)):
        key = _text(llama_cpp.llama_model_meta_key_by_index, native, index)
        if not key.startswith("tokenizer."):
            pairs[key] = _text(llama_cpp.llama_model_meta_val_str_by_index, native, index)
    return pairs


def _text(function: Callable[..., int], *arguments: Any) -> str:  # noqa: ANN401 - C arguments
    """What a function that fills a buffer has to say; asked twice when it is long."""
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = function(*arguments, buffer, size)
        if needed < size:
            return buffer.value.decode(errors="replace")
        size = needed + 1


class _Complaint:
    """The last error that llama.cpp logged; everything else it logs is dropped."""

    def __init__(self) -> None:
        self.text = ""
        self.callback = llama_cpp.llama_log_callback(self._log)

    def _log(self, level: int, text: bytes, _data: object) -> None:
        line = text.decode(errors="replace").strip()
        if level == GGML_LOG_LEVEL_ERROR and line and "failed to load model" not in line:
            self.text = line.partition(": ")[2] or line


_complaint = _Complaint()  # llama.cpp calls it as long as the process lives
