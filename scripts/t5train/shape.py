"""The model: a new T5 of some shape, or one that was trained before."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration

from t5train.vocabulary import EOS, PAD

ROWS = 64  # the embedding's rows are a multiple of this: ggml's repacked kernels take 8 or 16

# Beside the vocabulary of a checkpoint that was gone on from; kept with it.
TOKENIZER_FILES = (
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
# Of a new vocabulary, which has no sentinels.
TOKENIZER = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "legacy": True}


@dataclass(frozen=True)
class Shape:
    """What decides the size of a new model; heads have d_kv 64 unless said otherwise."""

    d_model: int = 256
    d_ff: int = 1024
    layers: int = 4
    decoder_layers: int = 2
    heads: int = 4
    d_kv: int = 64
    dropout: float = 0.0
    gated: bool = False


def build(shape: Shape, pieces: int) -> T5ForConditionalGeneration:
    """A new model with T5's own initialisation; head and embedding are one."""
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


def load(directory: Path, dropout: float) -> T5ForConditionalGeneration:
    """A model from a checkpoint directory, in F32."""
    model = T5ForConditionalGeneration.from_pretrained(
        directory, dropout_rate=dropout, dtype=torch.float32
    )
    if not isinstance(model, T5ForConditionalGeneration):
        raise TypeError(f"{directory} holds a {type(model).__name__}, not a T5")
    return model


def save(
    model: T5ForConditionalGeneration, vocabulary: Path, directory: Path, max_tokens: int = 48
) -> None:
    """Writes what the converter and transformers read: config, weights, vocabulary, defaults."""
    directory.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        pad_token_id=model.config.pad_token_id,
        eos_token_id=model.config.eos_token_id,
        decoder_start_token_id=model.config.decoder_start_token_id,
        max_new_tokens=max_tokens,
    )
    model.save_pretrained(directory)
    found = [vocabulary.parent / name for name in (vocabulary.name, *TOKENIZER_FILES)]
    for path in (path for path in found if path.is_file()):
        if path.parent.resolve() != directory.resolve():
            shutil.copyfile(path, directory / path.name)
    settings = directory / TOKENIZER_FILES[0]
    if not settings.is_file():
        settings.write_text(json.dumps(TOKENIZER, indent=2) + "\n", encoding="utf-8")
