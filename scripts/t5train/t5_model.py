"""Builds, loads and saves T5 models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration

from t5gguf.checkpoint import Checkpoint
from t5gguf.config import PREFIXES
from t5gguf.tensor_map import match_tensors
from t5train.pairs import prefix
from t5train.vocabulary import EOS, PAD

ROWS = 64  # the embedding's rows are a multiple of this: ggml's repacked kernels take 8 or 16

# Files beside the vocabulary of a loaded checkpoint; saved with the vocabulary.
TOKENIZER_FILES = (
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
# The tokenizer_config.json of a new vocabulary, which has no sentinels.
TOKENIZER = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "legacy": True}


@dataclass(frozen=True)
class Shape:
    """The shape of a new model."""

    d_model: int = 256
    d_ff: int = 1024
    layers: int = 4
    decoder_layers: int = 2
    heads: int = 4
    d_kv: int = 64
    dropout: float = 0.0
    gated: bool = False


def build(shape: Shape, pieces: int) -> T5ForConditionalGeneration:
    """Returns a new model with T5's initialisation, and a head tied to the embedding."""
    config = T5Config(
        vocab_size=-(-pieces // ROWS) * ROWS,
        d_model=shape.d_model,
        d_kv=shape.d_kv,
        d_ff=shape.d_ff,
        num_heads=shape.heads,
        num_layers=shape.layers,
        num_decoder_layers=shape.decoder_layers,
        dropout_rate=shape.dropout,
        feed_forward_proj="gated-gelu" if shape.gated else "relu",
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
        architectures=["T5ForConditionalGeneration"],
    )
    return T5ForConditionalGeneration(config)


def load(directory: Path, dropout: float | None = None) -> T5ForConditionalGeneration:
    """Loads a model from a checkpoint directory, in F32.

    Args:
        directory: The checkpoint.
        dropout: The dropout rate; None: the checkpoint's.

    Raises:
        ValueError: The checkpoint is no T5, lacks weights, or would be computed wrongly by the
            pinned transformers: UMT5, and a tied head without a scale of transformers 5.
    """
    checkpoint = Checkpoint.open(directory)
    match_tensors(checkpoint)
    config = checkpoint.config
    if config.has_bias_per_layer or config.tie_word_embeddings != config.scale_decoder_outputs:
        raise ValueError(f"{directory} holds a model that can be converted, but not trained here")
    overrides: dict[str, Any] = {} if dropout is None else {"dropout_rate": dropout}
    overrides["tie_word_embeddings"] = config.tie_word_embeddings
    model: T5ForConditionalGeneration = T5ForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32, **overrides
    )
    return model


def save(
    model: T5ForConditionalGeneration,
    vocabulary: Path,
    directory: Path,
    *,
    tasks: Iterable[str] = (),
    max_tokens: int = 48,
) -> None:
    """Writes the files that the converter and transformers read.

    The files are the config, the weights, the vocabulary and the defaults for generation.

    Args:
        model: The model, in training or not.
        vocabulary: The model's spiece.model; tokenizer files beside it are copied.
        directory: The directory of the files; made if it does not exist.
        tasks: The trained tasks, the default task first. Their prefixes replace those in
            config.json, where the converter reads them.
        max_tokens: The most tokens to generate by default.
    """
    directory.mkdir(parents=True, exist_ok=True)
    model.config.task_specific_params = None
    setattr(model.config, PREFIXES, {task: prefix(task) for task in tasks if task})
    model.generation_config = GenerationConfig(
        pad_token_id=model.config.pad_token_id,
        eos_token_id=model.config.eos_token_id,
        decoder_start_token_id=model.config.decoder_start_token_id,
        max_new_tokens=max_tokens,
    )
    model.save_pretrained(directory)
    paths = [vocabulary.parent / name for name in (vocabulary.name, *TOKENIZER_FILES)]
    for path in (path for path in paths if path.is_file()):
        if path.parent.resolve() != directory.resolve():
            shutil.copyfile(path, directory / path.name)
    settings = directory / TOKENIZER_FILES[0]
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        settings.write_text(json.dumps(TOKENIZER, indent=2) + "\n", encoding="utf-8")
