"""Loads a GGUF file for a backend, with its vocabulary and metadata."""

from __future__ import annotations

import ctypes
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import llama_cpp

from t5engine.backend import Backend
from t5engine.config import KernelsName
from t5engine.decoding.arithmetic import Arithmetic, NumpyArithmetic
from t5engine.graph.ggml import GgmlError
from t5engine.graph.graph_backend import GraphBackend
from t5engine.graph.greedy import GreedyDecoder
from t5engine.graph.variants import load_variant
from t5engine.header import HeaderError, open_checked, printable
from t5engine.kernels.loader import Kernels
from t5engine.kernels.logits import find_arithmetic
from t5engine.messages import ModelInfo
from t5engine.reader import GGUFFile
from t5engine.relevance import RERANK_KEY, read_relevance
from t5engine.tokenization.marks import SEPARATOR_KEY, get_mark, has_mark
from t5engine.worker.llama_backend import LlamaBackend
from t5engine.worker.tied import head_is_tied
from t5engine.worker.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

GGML_LOG_LEVEL_ERROR = 4  # ggml.h


class LoadError(Exception):
    """The file can't be served; the message says why in one line."""


@dataclass(frozen=True)
class Model:
    """A loaded model: backend, vocabulary, metadata, and the arithmetic of its searches.

    Attributes:
        greedy: decodes a lone sequence several tokens at a time; None: step by step.
    """

    backend: Backend
    vocabulary: Vocabulary
    start_token: int
    info: ModelInfo
    arithmetic: Arithmetic = field(default_factory=NumpyArithmetic)
    greedy: GreedyDecoder | None = None


def load_model(
    path: Path,
    *,
    threads: int,
    max_input_tokens: int,
    max_tokens: int,
    logit_scale: float | None,
    backend: Literal["auto", "graph", "llama"],
    rows: int,
    ggml_backends: Path | None = None,
    kernels: KernelsName = "auto",
) -> Model:
    """Maps the file and creates a backend for it.

    Args:
        path: the GGUF file.
        threads: threads of every native call.
        max_input_tokens: longest encoder input.
        max_tokens: most decoder inputs per row.
        logit_scale: factor on the file's logits; None: derived from the file.
        backend: the backend; auto: graph, or llama for a file that graph refuses.
        rows: most sequences at once.
        ggml_backends: directory of ggml's CPU backends, if none is linked in; None: libllama's.
        kernels: the matrix products of the graph backend. ggml: ggml's; auto: our own where they
            support a weight; else our own for this instruction set.

    Raises:
        LoadError: the file is missing, not GGUF, truncated, not a T5, or a T5 that the backend
            can't compute; or the processor lacks the instruction set.
    """
    try:
        header = open_checked(path)
    except HeaderError as error:
        raise LoadError(str(error)) from error
    try:
        load_variant(ggml_backends)  # before llama.cpp looks for backends itself
    except GgmlError as error:
        raise LoadError(str(error)) from error
    arithmetic = find_arithmetic(native=kernels != "ggml")
    if backend != "llama":
        try:
            file = _LoadedFile(path, header, vocab_only=True)
            graph_backend = GraphBackend(
                path,
                n_vocab=file.n_vocab,
                logit_scale=logit_scale or file.find_logit_scale(),
                max_input_tokens=max_input_tokens,
                max_tokens=max_tokens,
                threads=threads,
                rows=rows,
                kernels=_find_kernels(kernels),
            )
            return file.build_model(graph_backend, arithmetic)
        except GgmlError as error:
            if backend == "graph":
                raise LoadError(f"{path}: {error}") from error
            logger.warning("%s: %s; served by llama.cpp's own graph", path, error)
    file = _LoadedFile(path, header, vocab_only=False)
    distance = file.metadata.get("t5serve.relative_attention_max_distance", "128")
    if distance != "128":
        raise LoadError(f"{path}: its relative attention reaches {distance}, llama.cpp's 128")
    return file.build_model(
        LlamaBackend(
            file.native,
            n_vocab=file.n_vocab,
            logit_scale=logit_scale or file.find_logit_scale(),
            max_input_tokens=max_input_tokens,
            max_tokens=max_tokens,
            threads=threads,
            rows=rows,
        ),
        arithmetic,
    )


def _find_kernels(name: KernelsName) -> Kernels | None:
    if name == "ggml":
        return None
    kernels = Kernels.find(name)
    if kernels is None and name != "auto":
        raise LoadError(f"kernels: this processor has no {name}; use auto")
    return kernels


def check_separators(model: Model, separators: Sequence[str] | None) -> None:
    """Checks that the vocabulary has the mark of each separator; None: the separators of the file.

    Raises:
        LoadError: a mark is not a piece of the vocabulary, so the model can't generate it.
    """
    if separators is None:
        metadata = model.info.metadata
        separators = [text for key, text in metadata.items() if key.startswith(SEPARATOR_KEY)]
    if not separators:
        return
    pieces = model.vocabulary.list_shown_pieces()
    missing = [text for text in separators if not has_mark(pieces, text)]
    if missing:
        raise LoadError(
            f"{model.info.name}: the separator of a task is {missing[0]!r}, but no piece of the"
            f" vocabulary is {get_mark(missing[0])!r}; name another one"
        )


def check_judged_tokens(model: Model, tokens: Sequence[str] | None) -> None:
    """Checks that the vocabulary has the tokens of a reranker; None: those in the file.

    Raises:
        LoadError: a token is missing, or the file's keys contradict themselves.
    """
    if tokens is None:
        try:
            relevance = read_relevance(model.info.metadata)
        except ValueError as error:
            raise LoadError(f"{model.info.name}: {RERANK_KEY}*: {error}") from error
        tokens = [] if relevance is None else relevance.tokens
    missing = [token for token in tokens if model.vocabulary.find_piece(token) is None]
    if missing:
        raise LoadError(
            f"{model.info.name}: reranking weighs the token {missing[0]!r}, which the vocabulary"
            " lacks; name a piece as the vocabulary has it, such as '\u2581true'"
        )


def list_cpu_features() -> list[str]:
    """Returns the processor features that ggml's kernels were compiled for, by ggml's names."""
    info = bytes(llama_cpp.llama_print_system_info()).decode()  # "CPU : AVX2 = 1 | FMA = 1 | "
    return re.findall(r"(\w+) = 1", info)


class _LoadedFile:
    """A GGUF file as llama.cpp loads it, with or without its weights."""

    def __init__(self, path: Path, header: GGUFFile, *, vocab_only: bool) -> None:
        self._path = path
        self._header = header
        llama_cpp.llama_log_set(_error_log.callback, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.use_mmap = True
        params.n_gpu_layers = 0
        params.vocab_only = vocab_only
        self.native = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self.native:
            reason = _error_log.last_error or "no reason given"
            raise LoadError(f"{path}: llama.cpp can't load it: {reason}")
        self.metadata = _read_metadata(self.native)
        rows = int(llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.native)))
        self.n_vocab = int(
            self.metadata.get("t5serve.vocab_size", rows)
        )  # further rows are padding

    def find_logit_scale(self) -> float:
        """Returns d_model^-0.5 for a tied file by another converter, else 1."""
        if self.metadata.get("t5serve.logits_calibrated") == "true":
            return 1.0
        if head_is_tied(self._path):
            return float(int(self.metadata["t5.embedding_length"]) ** -0.5)
        return 1.0

    def build_model(self, backend: Backend, arithmetic: Arithmetic) -> Model:
        """Returns the model that decodes this file with a backend."""
        metadata = {
            key: value for key, value in self.metadata.items() if key.startswith("t5serve.")
        }
        info = ModelInfo(
            name=printable(self.metadata.get("general.name", self._path.stem)),
            description=f"{self._path.name}, {backend.name} backend, {backend.kernels}",
            n_vocab=self.n_vocab,
            max_input_tokens=backend.max_input_tokens,
            max_tokens=backend.max_tokens,
            metadata=metadata,
        )
        start = int(self.metadata.get("t5.decoder_start_token_id", 0))
        try:
            vocabulary = Vocabulary(self.native, self.n_vocab, self._header.metadata)
        except ValueError as error:
            raise LoadError(f"{self._path}: {error}") from error
        greedy = None
        if isinstance(backend, GraphBackend) and not isinstance(arithmetic, NumpyArithmetic):
            eos, suppressed = vocabulary.eos, vocabulary.suppressed
            greedy = GreedyDecoder(backend, start=start, eos=eos, suppressed=suppressed)
        return Model(backend, vocabulary, start, info, arithmetic, greedy)


def _read_metadata(native: Any) -> dict[str, str]:  # noqa: ANN401 - an opaque pointer
    """Returns all metadata except the long arrays of the tokenizer."""
    metadata = {}
    for index in range(llama_cpp.llama_model_meta_count(native)):
        key = _read_text(llama_cpp.llama_model_meta_key_by_index, native, index)
        if not key.startswith("tokenizer."):
            value = _read_text(llama_cpp.llama_model_meta_val_str_by_index, native, index)
            metadata[key] = value
    return metadata


def _read_text(function: Callable[..., int], *arguments: Any) -> str:  # noqa: ANN401 - C arguments
    """Calls a function that fills a buffer with text, with a larger buffer if necessary."""
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = function(*arguments, buffer, size)
        if needed < size:
            return buffer.value.decode(errors="replace")
        size = needed + 1


class _ErrorLog:
    """Keeps the last error that llama.cpp logged, and drops all other messages."""

    def __init__(self) -> None:
        self.last_error = ""
        self.callback = llama_cpp.llama_log_callback(self._log)

    def _log(self, level: int, text: bytes, _data: object) -> None:
        line = text.decode(errors="replace").strip()
        if level == GGML_LOG_LEVEL_ERROR and line and "failed to load model" not in line:
            self.last_error = line.partition(": ")[2] or line


_error_log = _ErrorLog()  # never freed: llama.cpp calls it until the process ends
