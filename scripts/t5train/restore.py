"""Restores a checkpoint from a GGUF file, so that a model can be trained whose checkpoint is gone.

The weights of a quantised file are those that it is served with: rounded once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import TokenType
from safetensors.numpy import save_file
from sentencepiece import sentencepiece_model_pb2

from t5engine.reader import GGUFFile
from t5engine.tokenization.metadata import read_pipeline
from t5gguf.config import T5, Config
from t5gguf.tensor_map import Role, map_tensors
from t5gguf.vocab import TOKEN_TYPES
from t5train.vocabulary import FILE

SUFFIX = ".gguf"
# The keys of the file by the fields of config.json.
FIELDS = {
    "vocab_size": "t5serve.vocab_size",
    "d_model": "t5.embedding_length",
    "d_kv": "t5.attention.key_length",
    "d_ff": "t5.feed_forward_length",
    "num_heads": "t5.attention.head_count",
    "num_layers": "t5.block_count",
    "num_decoder_layers": "t5.decoder_block_count",
    "relative_attention_num_buckets": "t5.attention.relative_buckets_count",
    "relative_attention_max_distance": "t5serve.relative_attention_max_distance",
    "layer_norm_epsilon": "t5.attention.layer_norm_rms_epsilon",
    "n_positions": "t5.context_length",
    "decoder_start_token_id": "t5.decoder_start_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
}
GATE, BIAS = "enc.blk.0.ffn_gate.weight", "enc.blk.1.attn_rel_b.weight"


def restore(path: Path, directory: Path) -> Path:
    """Writes config.json, model.safetensors and spiece.model; returns the directory.

    Args:
        path: A GGUF file that `scripts/convert.py` wrote, of any type.
        directory: Where the files are written; made if it does not exist.

    Raises:
        ValueError: The file was not written by the converter, or is of a model that can't be
            trained here: UMT5, a trimmed vocabulary, or one with added tokens.
    """
    file = GGUFFile.open(path)
    metadata, tensors = file.metadata, file.tensors
    try:
        fields = {name: metadata[key] for name, key in FIELDS.items()}
    except KeyError as error:
        raise ValueError(f"{path} was not written by scripts/convert.py: no {error}") from error
    _check(path, metadata, tensors)
    fields |= {
        "layer_norm_epsilon": float(f"{fields['layer_norm_epsilon']:.6g}"),  # F32 in the file
        "architectures": [T5],
        "model_type": "t5",
        "feed_forward_proj": "gated-gelu" if GATE in tensors else "relu",
        "tie_word_embeddings": "output.weight" not in tensors,
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    config = Config.load(directory)
    weights = {}
    for entry in map_tensors(config):
        values = tensors[entry.name].read_rows()
        if entry.role is Role.OUTPUT_NORM:
            values = values / np.float32(config.output_scale)
        if entry.role in (Role.EMBEDDING, Role.HEAD):
            values = values[: config.vocab_size]
        weights[entry.source] = np.ascontiguousarray(values.reshape(entry.shape))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / FILE).write_bytes(_build_vocabulary(metadata, config.vocab_size))
    return directory


def _check(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, object]) -> None:
    pipeline = read_pipeline(metadata)
    if BIAS in tensors:
        raise ValueError(f"{path} is a UMT5, which can't be trained here")
    if "t5serve.trimming.rows" in metadata or pipeline is None or pipeline.added:
        raise ValueError(
            f"{path} has a vocabulary that a SentencePiece file can't hold: "
            "train from the checkpoint that the file was converted from"
        )


def _build_vocabulary(metadata: Mapping[str, Any], pieces: int) -> bytes:
    """Returns a spiece.model of the file's pieces."""
    types = {int(token_type): piece_type for piece_type, token_type in TOKEN_TYPES.items()}
    rows = zip(
        metadata["tokenizer.ggml.tokens"],
        metadata["tokenizer.ggml.scores"],
        metadata["tokenizer.ggml.token_type"],
        strict=True,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    for _, (text, score, token_type) in zip(range(pieces), rows, strict=False):
        proto.pieces.add(piece=text, score=score, type=types[int(token_type)])
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    trainer.model_type = trainer.UNIGRAM
    trainer.vocab_size = len(proto.pieces)
    trainer.byte_fallback = int(TokenType.BYTE) in metadata["tokenizer.ggml.token_type"]
    trainer.pad_id = metadata["tokenizer.ggml.padding_token_id"]
    trainer.eos_id = metadata["tokenizer.ggml.eos_token_id"]
    trainer.unk_id = metadata["tokenizer.ggml.unknown_token_id"]
    trainer.bos_id = -1
    charsmap = metadata.get("tokenizer.ggml.precompiled_charsmap", b"")
    normalizer.precompiled_charsmap = bytes(charsmap)
    normalizer.add_dummy_prefix = bool(metadata["tokenizer.ggml.add_space_prefix"])
    normalizer.remove_extra_whitespaces = bool(metadata["tokenizer.ggml.remove_extra_whitespaces"])
    normalizer.escape_whitespaces = True
    serialised: bytes = proto.SerializeToString()
    return serialised
