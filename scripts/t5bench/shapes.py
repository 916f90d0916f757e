"""Writes checkpoints of published T5 shapes with seeded random weights, in Hugging Face's layout.

Times do not depend on the weights' values, so nothing has to be downloaded. The module needs no
torch: a safetensors file is a JSON header and the values.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sentencepiece import SentencePieceProcessor

from t5bench.errors import BenchError

SENTINELS = 100  # after the vocabulary's pieces; then padding, up to a multiple of 128
TOKENIZER_FILES = ("spiece.model", "tokenizer.json")
TOKENIZER = {"tokenizer_class": "T5Tokenizer", "extra_ids": SENTINELS, "legacy": True}

# Found by trial, so that an output is not one repeated token. With Hugging Face's scales
# everywhere, the last token's embedding or the cross-attention alone decides the next token.
EMBEDDING_SCALE = 0.1
DECODER_DOWN_FACTOR = 4.0
CROSS_OUT_FACTOR = 0.5
# The embedding's scale for tokens without text. None of them is ever the best token then: no
# sequence ends early, and engines that suppress these tokens agree with those that do not.
SILENT_SCALE = 0.01


@dataclass(frozen=True)
class Shape:
    """A shape of T5 v1.0: ReLU, and a head tied to the embedding."""

    d_model: int
    d_ff: int
    heads: int
    layers: int
    """Layers of the encoder, and as many of the decoder."""
    d_kv: int = 64

    def config(self, rows: int) -> dict[str, object]:
        """Returns the config.json for an embedding of `rows` rows."""
        return {
            "architectures": ["T5ForConditionalGeneration"],
            "model_type": "t5",
            "d_model": self.d_model,
            "d_kv": self.d_kv,
            "d_ff": self.d_ff,
            "num_heads": self.heads,
            "num_layers": self.layers,
            "num_decoder_layers": self.layers,
            "vocab_size": rows,
            "n_positions": 512,
            "feed_forward_proj": "relu",
            "is_encoder_decoder": True,
            "layer_norm_epsilon": 1e-6,
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128,
            "tie_word_embeddings": True,
            "decoder_start_token_id": 0,
            "pad_token_id": 0,
            "eos_token_id": 1,
        }


SHAPES = {"t5-small": Shape(512, 2048, 8, 6), "t5-base": Shape(768, 3072, 12, 12)}


def write_checkpoint(shape: Shape, tokenizer: Path, directory: Path, seed: int = 0) -> None:
    """Writes config, weights and vocabulary into a new directory.

    Raises:
        BenchError: The tokenizer's directory has no spiece.model.
    """
    if not (tokenizer / TOKENIZER_FILES[0]).is_file():
        raise BenchError(
            f"{tokenizer} has no {TOKENIZER_FILES[0]}: pass T5's directory as --tokenizer"
        )
    directory.mkdir(parents=True)
    for name in TOKENIZER_FILES:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, directory / name)
    _write_json(directory / "tokenizer_config.json", TOKENIZER)
    pieces = SentencePieceProcessor(model_file=str(tokenizer / TOKENIZER_FILES[0])).get_piece_size()
    rows = -(-(pieces + SENTINELS) // 128) * 128
    silent = [0, 1, 2, *range(pieces, rows)]
    _write_json(directory / "config.json", shape.config(rows))
    _write_weights(directory / "model.safetensors", list(_plan_tensors(shape, rows)), silent, seed)


def _write_weights(
    path: Path, plan: Sequence[tuple[str, tuple[int, ...], float]], silent: Sequence[int], seed: int
) -> None:
    """Draws and writes the tensors in turn."""
    random = np.random.default_rng(seed)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, size, _ in plan:
        start, end = end, end + 4 * int(np.prod(size))
        header[name] = {"dtype": "F32", "shape": size, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, size, scale in plan:
            values = random.standard_normal(size, np.float32) * np.float32(scale)
            if name == "shared.weight":
                values[silent] *= np.float32(SILENT_SCALE)
            elif name.endswith("norm.weight"):
                values += 1
            file.write(values.tobytes())


def _plan_tensors(shape: Shape, rows: int) -> Iterator[tuple[str, tuple[int, ...], float]]:
    """Yields each tensor's name, shape and standard deviation, near Hugging Face's own."""
    yield "shared.weight", (rows, shape.d_model), EMBEDDING_SCALE
    for stack, attentions in (
        ("encoder", ("SelfAttention",)),
        ("decoder", ("SelfAttention", "EncDecAttention")),
    ):
        for layer in range(shape.layers):
            block = f"{stack}.block.{layer}.layer"
            for index, attention in enumerate(attentions):
                biased = layer == 0 and attention == "SelfAttention"
                yield from _plan_attention(f"{block}.{index}.{attention}", shape, biased=biased)
                yield f"{block}.{index}.layer_norm.weight", (shape.d_model,), 0.1
            dense = f"{block}.{len(attentions)}.DenseReluDense"
            yield f"{dense}.wi.weight", (shape.d_ff, shape.d_model), shape.d_model**-0.5
            down = DECODER_DOWN_FACTOR if stack == "decoder" else 1.0
            yield f"{dense}.wo.weight", (shape.d_model, shape.d_ff), down * shape.d_ff**-0.5
            yield f"{block}.{len(attentions)}.layer_norm.weight", (shape.d_model,), 0.1
        yield f"{stack}.final_layer_norm.weight", (shape.d_model,), 0.1


def _plan_attention(
    prefix: str, shape: Shape, *, biased: bool
) -> Iterator[tuple[str, tuple[int, ...], float]]:
    inner = shape.heads * shape.d_kv
    yield f"{prefix}.q.weight", (inner, shape.d_model), (shape.d_model * shape.d_kv) ** -0.5
    yield f"{prefix}.k.weight", (inner, shape.d_model), shape.d_model**-0.5
    yield f"{prefix}.v.weight", (inner, shape.d_model), shape.d_model**-0.5
    out = CROSS_OUT_FACTOR if prefix.endswith("EncDecAttention") else 1.0
    yield f"{prefix}.o.weight", (shape.d_model, inner), out * inner**-0.5
    if biased:
        yield f"{prefix}.relative_attention_bias.weight", (32, shape.heads), 0.5


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
