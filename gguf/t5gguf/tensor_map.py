"""The map from Hugging Face tensors to GGUF tensors, which leaves out none of either."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from t5gguf.checkpoint import HEAD, Checkpoint
from t5gguf.config import Config
from t5gguf.errors import ConversionError


class Role(Enum):
    """The roles of tensors that quantisation distinguishes."""

    EMBEDDING = "embedding"
    HEAD = "head"
    NORM = "norm"
    OUTPUT_NORM = "output norm"
    BIAS = "bias"
    ATTENTION = "attention"
    FFN = "ffn"
    FFN_DOWN = "ffn_down"


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of the GGUF file.

    Attributes:
        name: the name in the GGUF file.
        source: the name in the checkpoint.
        shape: (rows, columns), or (columns,) for a norm.
        role: the role, which quantisation depends on.
        layer: the layer within the encoder or the decoder.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    role: Role
    layer: int = 0


# The first is the usual name. Some versions of Hugging Face's code also write the others, which
# are equal to the first.
EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# A tensor of Google's checkpoints that T5 does not use. transformers lists the tensor in T5's
# `_keys_to_ignore_on_load_unexpected`.
IGNORED = re.compile(
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"
)


def map_tensors(config: Config) -> Iterator[TensorEntry]:
    """Yields each tensor of the GGUF file, in the order of writing.

    q, k and v of a layer are adjacent, so that a reader can use them as one matrix without a copy.
    """
    yield TensorEntry(
        "token_embd.weight", EMBEDDINGS[0], (config.vocab_size, config.d_model), Role.EMBEDDING
    )
    for layer in range(config.num_layers):
        yield from _map_block(config, layer, decoder=False)
    yield TensorEntry(
        "enc.output_norm.weight", "encoder.final_layer_norm.weight", (config.d_model,), Role.NORM
    )
    for layer in range(config.num_decoder_layers):
        yield from _map_block(config, layer, decoder=True)
    yield TensorEntry(
        "dec.output_norm.weight",
        "decoder.final_layer_norm.weight",
        (config.d_model,),
        Role.OUTPUT_NORM,
    )
    if not config.tie_word_embeddings:
        yield TensorEntry("output.weight", HEAD, (config.vocab_size, config.d_model), Role.HEAD)


def _map_block(config: Config, layer: int, *, decoder: bool) -> Iterator[TensorEntry]:
    side, prefix = ("decoder", "dec") if decoder else ("encoder", "enc")
    source = f"{side}.block.{layer}.layer"
    target = f"{prefix}.blk.{layer}"
    d_model, d_inner = config.d_model, config.d_inner

    def matrix(name: str, module: str, shape: tuple[int, int], role: Role) -> TensorEntry:
        return TensorEntry(
            f"{target}.{name}.weight", f"{source}.{module}.weight", shape, role, layer
        )

    def norm(sublayer: int, name: str) -> TensorEntry:
        return TensorEntry(
            f"{target}.{name}.weight",
            f"{source}.{sublayer}.layer_norm.weight",
            (d_model,),
            Role.NORM,
            layer,
        )

    def attention(sublayer: int, module: str, name: str) -> Iterator[TensorEntry]:
        yield norm(sublayer, f"{name}_norm")
        module = f"{sublayer}.{module}"
        for part in "qkv":
            shape = (d_inner, d_model)
            yield matrix(f"{name}_{part}", f"{module}.{part}", shape, Role.ATTENTION)
        yield matrix(f"{name}_o", f"{module}.o", (d_model, d_inner), Role.ATTENTION)

    yield from attention(0, "SelfAttention", "attn")
    if layer == 0 or config.has_bias_per_layer:
        shape = (config.relative_attention_num_buckets, config.num_heads)
        yield matrix("attn_rel_b", "0.SelfAttention.relative_attention_bias", shape, Role.BIAS)
    if decoder:
        yield from attention(1, "EncDecAttention", "cross_attn")
    sublayer = 2 if decoder else 1
    yield norm(sublayer, "ffn_norm")
    dense = f"{sublayer}.DenseReluDense"
    ups = {"ffn_gate": "wi_0", "ffn_up": "wi_1"} if config.is_gated else {"ffn_up": "wi"}
    for name, part in ups.items():
        yield matrix(name, f"{dense}.{part}", (config.d_ff, d_model), Role.FFN)
    yield matrix("ffn_down", f"{dense}.wo", (d_model, config.d_ff), Role.FFN_DOWN)


def match_tensors(checkpoint: Checkpoint) -> list[TensorEntry]:
    """Returns the entries of a checkpoint, each with the name that its source has in the file.

    Raises:
        ConversionError: lists each tensor that is unknown, missing or of the wrong shape, and
            each copy of the embedding that differs from it.
    """
    config, tensors = checkpoint.config, checkpoint.tensors
    embedding_names = [*EMBEDDINGS, *([HEAD] if config.tie_word_embeddings else [])]
    copies = [name for name in embedding_names if name in tensors]
    entries = [
        replace(entry, source=copies[0]) if entry.role is Role.EMBEDDING and copies else entry
        for entry in map_tensors(config)
    ]
    _check_floats(checkpoint, entries)
    faults: list[str] = []
    for entry in entries:
        if entry.source not in tensors:
            faults.append(f"missing: {entry.source}")
        elif tensors[entry.source].shape != entry.shape:
            faults.append(
                f"wrong shape: {entry.source} is {tensors[entry.source].shape}, "
                f"config.json says {entry.shape}"
            )
    known = {entry.source for entry in entries} | set(embedding_names)
    faults += [
        f"unknown: {name}"
        for name in sorted(tensors)
        if name not in known and not IGNORED.fullmatch(name) and tensors[name].is_float
    ]
    faults += _find_unequal_copies(checkpoint, copies)
    if faults:
        listing = "\n  ".join(faults)
        raise ConversionError(f"{checkpoint.directory}: {len(faults)} fault(s)\n  {listing}")
    return entries


def _check_floats(checkpoint: Checkpoint, entries: list[TensorEntry]) -> None:
    """Checks that no weight is of integers, as in a checkpoint that is quantised already."""
    tensors = checkpoint.tensors
    dtypes = [
        tensors[entry.source].dtype
        for entry in entries
        if entry.source in tensors and not tensors[entry.source].is_float
    ]
    if dtypes:
        raise ConversionError(
            f"{checkpoint.directory}: {len(dtypes)} weight(s) are of {dtypes[0]}, not of floats: "
            "convert the checkpoint that this one was quantised from (by bitsandbytes, for example)"
        )


def _find_unequal_copies(checkpoint: Checkpoint, names: list[str]) -> list[str]:
    """Returns a fault for each tensor whose values differ from those of the first."""
    if len(names) < 2:
        return []
    first = checkpoint.tensors[names[0]].load()
    return [
        f"unequal: {name} should equal {names[0]}"
        for name in names[1:]
        if not np.array_equal(first, checkpoint.tensors[name].load())
    ]
