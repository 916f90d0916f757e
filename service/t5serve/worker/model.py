"""A loaded GGUF file: backend, vocabulary, and what the file says of itself."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp

from t5serve.wire import ModelInfo
from t5serve.worker.backend import Backend
from t5serve.worker.llama import LlamaBackend
from t5serve.worker.vocabulary import Vocabulary

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
) -> Model:
    """Maps the file and makes a backend for it.

    Args:
        path: the GGUF file.
        threads: of every native call.
        max_input_tokens: longest encoder input.
        max_tokens: most decoder inputs.
        logit_scale: factor on the file's logits; None: as the file says.

    Raises:
        LoadError: missing, not GGUF, truncated, not a T5, or a T5 that llama.cpp computes wrongly.
    """
    _check_magic(path)
    complaint = _Complaint()
    llama_cpp.llama_log_set(complaint.callback, ctypes.c_void_p())
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.use_mmap = True
    params.n_gpu_layers = 0
    native = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if not native:
        raise LoadError(f"{path}: llama.cpp can't load it: {complaint.text or 'no reason given'}")
    metadata = _metadata(native)
    architecture = metadata.get("general.architecture", "")
    if architecture != "t5":
        raise LoadError(f"{path}: its architecture is {architecture!r}, this service takes t5")
    distance = metadata.get("t5serve.relative_attention_max_distance", "128")
    if distance != "128":
        raise LoadError(f"{path}: its relative attention reaches {distance}, llama.cpp's 128 only")
    size = int(llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(native)))
    size = int(metadata.get("t5serve.vocab_size", size))  # the rest pads the rows
    backend = LlamaBackend(
        native,
        n_vocab=size,
        logit_scale=logit_scale or _logit_scale(path, native, metadata),
        max_input_tokens=max_input_tokens,
        max_tokens=max_tokens,
        threads=threads,
    )
    start = int(llama_cpp.llama_model_decoder_start_token(native))
    ours = {key: value for key, value in metadata.items() if key.startswith("t5serve.")}
    info = ModelInfo(
        name=metadata.get("general.name", path.stem),
        description=_text(llama_cpp.llama_model_desc, native),
        n_vocab=size,
        max_input_tokens=max_input_tokens,
        max_tokens=max_tokens,
        metadata=ours,
    )
    return Model(backend, Vocabulary(native, size), max(start, 0), info)


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from error
    if magic != GGUF_MAGIC:
        raise LoadError(f"{path} is not a GGUF file")


def _logit_scale(path: Path, native: Any, metadata: dict[str, str]) -> float:  # noqa: ANN401
    """1 for a calibrated file; d_model^-0.5 for a tied one by another converter."""
    if metadata.get("t5serve.logits_calibrated") == "true":
        return 1.0
    # Here and not above: it costs start-up time, and only files by other converters need it.
    from t5serve.worker.tied import head_is_tied  # noqa: PLC0415

    if head_is_tied(path):
        return float(llama_cpp.llama_model_n_embd(native) ** -0.5)
    return 1.0


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
