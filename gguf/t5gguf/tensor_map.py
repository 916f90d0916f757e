"""Which Hugging Face tensor becomes which GGUF tensor: exhaustive both ways."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from t5gguf.checkpoint import HEAD, Checkpoint, Config
from t5gguf.errors import ConversionError


class Role(Enum):
    """What a tensor does, as far as its quantisation depends on it."""

    EMBEDDING = "embedding"
    HEAD = "head"
    NORM = "norm"
    OUTPUT_NORM = "output norm"
    BIAS = "bias"
    ATTENTION = "attention"
    FFN = "ffn"
    FFN_DOWN = "ffn_down"


@dataclass(frozen=True)
class Entry:
    """One tensor of the GGUF file; shape is (rows, columns), or (columns,) for a norm."""

    name: str
    source: str
    shape: tuple[int, ...]
    role: Role
    layer: int = 0


# Written by some versions of Hugging Face's code beside the tensor that they equal.
EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# In Google's checkpoints; transformers names it in T5's `_keys_to_ignore_on_load_unexpected`.
IGNORED = re.compile(
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"
)


def entries(config: Config) -> Iterator[Entry]:
    """Every tensor of the GGUF file, in the order of writing: q, k and v of a layer are adjacent,
    so that a reader can take them as one matrix without a copy.
    """
    yield Entry(
        "token_embd.weight", EMBEDDINGS[0], (config.vocab_size, config.d_model), Role.EMBEDDING
    )
    for layer in range(config.num_layers):
        yield from _block(config, layer, decoder=False)
    yield Entry(
        "enc.output_norm.weight", "encoder.final_layer_norm.weight", (config.d_model,), Role.NORM
    )
    for layer in range(config.num_decoder_layers):
        yield from _block(config, layer, decoder=True)
    yield Entry(
        "dec.output_norm.weight",
        "decoder.final_layer_norm.weight",
        (config.d_model,),
        Role.OUTPUT_NORM,
    )
    if not config.tie_word_embeddings:
        yield Entry("output.weight", HEAD, (config.vocab_size, config.d_model), Role.HEAD)


def _block(config: Config, layer: int, *, decoder: bool) -> Iterator[Entry]:
    side, prefix = ("decoder", "dec") if decoder else ("encoder", "enc")
    source = f"{side}.block.{layer}.layer"
    target = f"{prefix}.blk.{layer}"
    wide, narrow = (config.d_inner, config.d_model), (config.d_model, config.d_inner)

    def attention(index: int, module: str, name: str) -> Iterator[Entry]:
        yield norm(index, f"{name}_norm")
        for part in "qkv":
            yield Entry(
                f"{target}.{name}_{part}.weight",
                f"{source}.{index}.{module}.{part}.weight",
                wide,
                Role.ATTENTION,
                layer,
            )
        yield Entry(
            f"{target}.{name}_o.weight",
            f"{source}.{index}.{module}.o.weight",
            narrow,
            Role.ATTENTION,
            layer,
        )

    def norm(index: int, name: str) -> Entry:
        return Entry(
            f"{target}.{name}.weight",
            f"{source}.{index}.layer_norm.weight",
            (config.d_model,),
            Role.NORM,
            layer,
        )

    yield from attention(0, "SelfAttention", "attn")
    if layer == 0 or config.bias_in_every_layer:
        yield Entry(
            f"{target}.attn_rel_b.weight",
            f"{source}.0.SelfAttention.relative_attention_bias.weight",
            (config.relative_attention_num_buckets, config.num_heads),
            Role.BIAS,
            layer,
        )
    if decoder:
        yield from attention(1, "EncDecAttention", "cross_attn")
    last = 2 if decoder else 1
    yield norm(last, "ffn_norm")
    ups = {"ffn_gate": "wi_0", "ffn_up": "wi_1"} if config.is_gated else {"ffn_up": "wi"}
    for name, part in ups.items():
        yield Entry(
            f"{target}.{name}.weight",
            f"{source}.{last}.DenseReluDense.{part}.weight",
            (config.d_ff, config.d_model),
            Role.FFN,
            layer,
        )
    yield Entry(
        f"{target}.ffn_down.weight",
        f"{source}.{last}.DenseReluDense.wo.weight",
        (config.d_model, config.d_ff),
        Role.FFN_DOWN,
        layer,
    )


def match(checkpoint: Checkpoint) -> list[Entry]:
    """The entries of a checkpoint, each with the name that its source has in the file.

    Raises:
        ConversionError: lists every tensor that is unknown, missing, of the wrong shape, or that
            should equal `shared.weight` and doesn't.
    """
    config, tensors = checkpoint.config, checkpoint.tensors
    aliases = [*EMBEDDINGS, *([HEAD] if config.tie_word_embeddings else [])]
    present = [name for name in aliases if name in tensors]
    wanted: list[Entry] = []
    faults: list[str] = []
    for entry in entries(config):
        found = entry
        if entry.role is Role.EMBEDDING and present:
            found = Entry(entry.name, present[0], entry.shape, entry.role)
        wanted.append(found)
        if found.source not in tensors:
            faults.append(f"missing: {found.source}")
        elif tensors[found.source].shape != found.shape:
            faults.append(
                f"wrong shape: {found.source} is {tensors[found.source].shape}, "
                f"config.json says {found.shape}"
            )
    known = {entry.source for entry in wanted} | set(aliases)
    faults += [
        f"unknown: {name}"
        for name in sorted(tensors)
        if name not in known and not IGNORED.fullmatch(name)
    ]
    faults += _unequal(checkpoint, present)
    if faults:
        listing = "\n  ".join(faults)
        raise ConversionError(f"{checkpoint.directory}: {len(faults)} fault(s)\n  {listing}")
    return wanted


def _unequal(checkpoint: Checkpoint, aliases: list[str]) -> list[str]:
    """The aliases whose values differ from the first one's."""
    if len(aliases) < 2:
        return []
    first = checkpoint.tensors[aliases[0]].load()
    return [
        f"unequal: {name} should equal {aliases[0]}"
        for name in aliases[1:]
        if not np.array_equal(first, checkpoint.tensors[name].load())
    ]
