"""Checks the header of a GGUF file before anything is built from it.

llama.cpp and ggml end the process on values that they do not expect. So every count is held to what
the file can have, and every key to its type; by the worker, the converter and its `inspect`, and
`t5serve doctor`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from t5engine.header_rules import CHARSMAP, INTEGER_END, RULES, TOKEN_IDS
from t5engine.reader import GGUFFile, ReadError, StoredTensor
from t5engine.tokenization.charsmap import Charsmap
from t5engine.tokenization.metadata import read_pipeline

# Values per block and bytes per block, by number of enum ggml_type (ggml's ggml.c, type_traits).
BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    29: (256, 56),
    30: (1, 2),
}
# Of other models; llama.cpp reads them for every architecture, and ends the process on some values.
FOREIGN_KEYS = ("t5.expert", "t5.rope")
MAX_PADDING = 64  # rows that the converter may add
TOKENS = "tokenizer.ggml.tokens"
BYTE = 6  # the last of llama.cpp's token types
BYTE_TEXT = re.compile("<0x[0-9A-Fa-f]{2}>")


class HeaderError(ValueError):
    """The file is not a T5 that can be served; the message is one printable line."""

    def __init__(self, path: Path, reason: str) -> None:
        colon = "" if reason.startswith("is ") else ":"
        super().__init__(printable(f"{path}{colon} {reason}"))


def open_checked(path: Path) -> GGUFFile:
    """Reads and checks the header of a file.

    Raises:
        HeaderError: the file can't be read or is not a T5 that can be served; the message says why.
    """
    if path.is_dir():
        raise HeaderError(path, convert_first(path))
    try:
        with path.open("rb") as start:
            if start.read(4) != b"GGUF":
                raise HeaderError(path, "is not a GGUF file")
        file = GGUFFile.open(path)
        size = path.stat().st_size
    except OSError as error:
        raise HeaderError(path, error.strerror or str(error)) from error
    except ReadError as error:
        raise HeaderError(path, str(error).removeprefix(f"{path} ")) from error
    fault = find_fault(file, size)
    if fault:
        raise HeaderError(path, fault)
    return file


def convert_first(directory: Path) -> str:
    """Returns what to say of a directory in place of a GGUF file."""
    return (
        f"is a directory; convert the checkpoint with `t5gguf convert {directory} --out "
        "FILE.gguf`, and serve that file"
    )


def find_fault(file: GGUFFile, size: int) -> str | None:
    """Returns why a file of `size` bytes can't be served; None if its header is right."""
    metadata = file.metadata
    return (
        _find_architecture_fault(metadata)
        or _find_value_fault(metadata)
        or _find_vocabulary_fault(metadata)
        or _find_tensor_fault(file, size)
    )


def printable(text: str) -> str:
    """Returns a text as one line without control characters."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _find_architecture_fault(metadata: Mapping[str, Any]) -> str | None:
    architecture = metadata.get("general.architecture")
    if architecture is None:
        return (
            "has no general.architecture: another tool wrote the file without the metadata that "
            "says what it is; convert the checkpoint with `t5gguf convert DIR --out FILE.gguf`"
        )
    if architecture != "t5":
        return f"its architecture is {architecture!r}, this service takes t5"
    model = metadata.get("tokenizer.ggml.model")
    if model != "t5":
        return f"tokenizer.ggml.model is {model!r}, expected t5"
    return None


def _find_value_fault(metadata: Mapping[str, Any]) -> str | None:
    for key, rule in RULES.items():
        if key not in metadata:
            if rule.is_required:
                return f"{key} is missing"
        elif not rule.is_valid(metadata[key]):
            return f"{key} is {_shorten(metadata[key])}, expected {rule.expected}"
    for key in metadata:
        if key.startswith(FOREIGN_KEYS):
            return f"{key} is {_shorten(metadata[key])}, but no T5 has this key"
    distance = metadata.get("t5serve.relative_attention_max_distance", 128)
    buckets = metadata["t5.attention.relative_buckets_count"]
    if buckets // 2 >= distance:
        return f"{buckets} relative buckets do not fit a distance of {distance}"
    return None


def _find_vocabulary_fault(metadata: Mapping[str, Any]) -> str | None:
    tokens = metadata.get(TOKENS)
    if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], str):
        return f"{TOKENS} is {_shorten(tokens)}, expected an array of texts"
    return (
        _find_column_fault(metadata, tokens)
        or _find_text_fault(metadata, tokens)
        or _find_id_fault(metadata, len(tokens))
        or _find_tokenizer_fault(metadata)
    )


def _find_column_fault(metadata: Mapping[str, Any], tokens: Sequence[str]) -> str | None:
    scores, types = metadata["tokenizer.ggml.scores"], metadata["tokenizer.ggml.token_type"]
    if len(scores) != len(tokens) or len(types) != len(tokens):
        return f"{len(tokens)} tokens have {len(scores)} scores and {len(types)} types"
    if not np.isfinite(scores).all():
        return "a token's score is not finite"
    if types.min() < 0 or types.max() > BYTE:
        return f"a token's type is {types.min() if types.min() < 0 else types.max()}, not 0 to 6"
    return None


def _find_text_fault(metadata: Mapping[str, Any], tokens: Sequence[str]) -> str | None:
    # llama.cpp ends the process on a text with two ids; its texts end at a zero byte.
    # Texts that are not UTF-8 were read alike, though they may differ.
    texts = Counter(token.partition("\0")[0] for token in tokens)
    repeated = [t for t, number in texts.items() if number > 1 and t and "\ufffd" not in t]
    if repeated:
        return f"two tokens have the text {_shorten(repeated[0])}"
    for token in np.flatnonzero(metadata["tokenizer.ggml.token_type"] == BYTE).tolist():
        if not BYTE_TEXT.fullmatch(tokens[token]):
            return f"token {token} is of bytes, but {_shorten(tokens[token])} names none"
    return None


def _find_id_fault(metadata: Mapping[str, Any], count: int) -> str | None:
    vocab_size = metadata.get("t5serve.vocab_size", count)
    if not count - MAX_PADDING < vocab_size <= count:
        return f"t5serve.vocab_size is {vocab_size} for {count} tokens"
    for key in TOKEN_IDS:
        if metadata.get(key, 0) >= vocab_size:
            return f"{key} is {metadata[key]}, which is beyond the {vocab_size} tokens"
    return None


def _find_tokenizer_fault(metadata: Mapping[str, Any]) -> str | None:
    try:
        Charsmap(bytes(metadata.get(CHARSMAP, b"")))
        read_pipeline(metadata)
    except ValueError as error:
        return f"its tokenizer is malformed: {error}"
    return None


def _find_tensor_fault(file: GGUFFile, size: int) -> str | None:
    metadata, tensors = file.metadata, file.tensors
    for key in ("t5.block_count", "t5.decoder_block_count"):
        if metadata.get(key, 1) > len(tensors):
            return f"{key} is {metadata[key]}, but the file has {len(tensors)} tensors"
    for name, tensor in tensors.items():
        if fault := _find_extent_fault(tensor, size):
            return f"{name} {fault}"
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        return "token_embd.weight is missing"
    tokens = len(metadata[TOKENS])
    if embedding.shape[0] != tokens:
        return f"token_embd.weight has {embedding.shape[0]} rows for {tokens} tokens"
    return None


def _find_extent_fault(tensor: StoredTensor, size: int) -> str | None:
    """Returns what is wrong with where a tensor lies in a file of `size` bytes."""
    shape: Sequence[int] = tensor.shape
    if not 1 <= len(shape) <= 4 or not all(0 < length < INTEGER_END for length in shape):
        return f"has the shape {shape}"
    if tensor.tensor_type not in BLOCKS:
        return f"has the unsupported type {tensor.tensor_type}"
    block, block_bytes = BLOCKS[tensor.tensor_type]
    if shape[-1] % block:
        return f"has rows of {shape[-1]} values, no multiple of {block}"
    if tensor.offset + math.prod(shape) // block * block_bytes > size:
        return "ends after the end of the file"
    return None


def _shorten(value: object) -> str:
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:60]}..."
