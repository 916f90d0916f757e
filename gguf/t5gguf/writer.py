"""Writes one GGUF file: metadata, vocabulary, tensors, in t5gguf's own order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter
from tqdm import tqdm

from t5gguf import feedback
from t5gguf.checkpoint import F32, Checkpoint
from t5gguf.moments import Moments
from t5gguf.native import nbytes
from t5gguf.quantize import Policy, quantizer
from t5gguf.tensor_map import Entry, Role
from t5gguf.vocab import Vocabulary

ARCHITECTURE = "t5"
# ggml's repacked kernels take rows by 8 or 16 and crash on a remainder (32,100 rows, say).
ROW_MULTIPLE = 64


@dataclass(frozen=True)
class Provenance:
    """Where a file comes from and how its model wants to be used; written into the file."""

    name: str
    repo: str = ""
    revision: str = ""
    license: str = ""
    tasks: dict[str, str] = field(default_factory=dict)
    """Name to prefix; the first is the default. A model without any has one without a prefix."""
    generation: dict[str, int | float | str] = field(default_factory=dict)
    """Defaults by Hugging Face's names, as in a recipe."""


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor as it will stand in the file: type, and shape with padded rows."""

    entry: Entry
    kind: Type
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return nbytes(self.shape, self.kind)


def padded_rows(vocab_size: int) -> int:
    """Rows of the embedding and the head in the file."""
    return math.ceil(vocab_size / ROW_MULTIPLE) * ROW_MULTIPLE


def write(
    path: Path,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    tensors: Sequence[PlannedTensor],
    policy: Policy,
    provenance: Provenance,
    *,
    max_ffn_down_input: float,
    moments: Moments | None = None,
    progress: bool = True,
) -> None:
    """Writes the file; reads one source tensor at a time, so memory holds the largest one only.

    With moments, the types that gain by it are quantised with error feedback.
    """
    writer = GGUFWriter(path, ARCHITECTURE)
    try:
        _describe_model(writer, checkpoint, policy)
        _describe_vocabulary(writer, vocabulary, checkpoint)
        _describe_source(writer, checkpoint, vocabulary, provenance, max_ffn_down_input)
        if moments is not None:
            writer.add_uint32("t5serve.calibration.queries", moments.queries)
        for tensor in tensors:
            writer.add_tensor_info(
                tensor.entry.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, tensor.kind
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        total = sum(tensor.nbytes for tensor in tensors)
        with (
            quantizer() as quantize,
            tqdm(
                total=total, unit="B", unit_scale=True, desc="writing", disable=not progress
            ) as bar,
        ):
            for tensor in tensors:
                values = load(checkpoint, tensor, vocabulary)
                known = None
                if moments and tensor.kind in feedback.TYPES and tensor.entry.source in moments:
                    known, _ = moments.sums(tensor.entry.source)
                writer.write_tensor_data(quantize(tensor.entry.name, values, tensor.kind, known))
                bar.update(tensor.nbytes)
    finally:
        writer.close()


def load(checkpoint: Checkpoint, tensor: PlannedTensor, vocabulary: Vocabulary) -> F32:
    """A tensor's values as the file has them before quantising.

    The output scale of a tied model goes into the decoder's last norm, since llama.cpp's graph
    leaves it out. Rows added to the vocabulary repeat the one of `<unk>`: zeros would give
    logit 0, more than most real tokens have.
    """
    values = checkpoint.tensors[tensor.entry.source].load()
    if tensor.entry.role is Role.OUTPUT_NORM:
        return values * np.float32(checkpoint.config.output_scale)
    if values.shape == tensor.shape:
        return values
    filler = np.repeat(values[[vocabulary.unk_token_id]], tensor.shape[0] - len(values), axis=0)
    return np.concatenate([values, filler])


def _describe_model(writer: GGUFWriter, checkpoint: Checkpoint, policy: Policy) -> None:
    config = checkpoint.config
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.d_model)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_block_count(config.num_layers)
    writer.add_decoder_block_count(config.num_decoder_layers)
    writer.add_head_count(config.num_heads)
    writer.add_key_length(config.d_kv)
    writer.add_value_length(config.d_kv)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
    writer.add_relative_attn_buckets_count(config.relative_attention_num_buckets)
    writer.add_decoder_start_token_id(config.decoder_start_token_id)
    writer.add_file_type(policy.file_type)
    writer.add_quantization_version(2)
    writer.add_uint32("t5serve.vocab_size", config.vocab_size)  # rows beyond are padding
    writer.add_bool("t5serve.logits_calibrated", True)  # noqa: FBT003 - gguf's signature
    writer.add_uint32(
        "t5serve.relative_attention_max_distance", config.relative_attention_max_distance
    )


def _describe_vocabulary(
    writer: GGUFWriter, vocabulary: Vocabulary, checkpoint: Checkpoint
) -> None:
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    if vocabulary.trimming:
        writer.add_uint32("t5serve.trimming.rows", vocabulary.trimming.rows)
        writer.add_string("t5serve.trimming.sha256", vocabulary.trimming.sha256)
    writer.add_token_list([token.encode() for token in vocabulary.tokens])
    writer.add_token_scores(vocabulary.scores)
    writer.add_token_types(vocabulary.types)
    writer.add_add_space_prefix(vocabulary.add_space_prefix)
    writer.add_remove_extra_whitespaces(vocabulary.remove_extra_whitespaces)
    if vocabulary.precompiled_charsmap:
        writer.add_precompiled_charsmap(vocabulary.precompiled_charsmap)
    writer.add_pad_token_id(checkpoint.config.pad_token_id)
    writer.add_eos_token_id(checkpoint.config.eos_token_id)
    writer.add_unk_token_id(vocabulary.unk_token_id)
    writer.add_add_bos_token(False)  # noqa: FBT003 - gguf's signature
    writer.add_add_eos_token(True)  # noqa: FBT003 - gguf's signature


def _describe_source(
    writer: GGUFWriter,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    provenance: Provenance,
    max_ffn_down_input: float,
) -> None:
    writer.add_name(provenance.name)
    for key, value in {
        "general.license": provenance.license,
        "t5serve.license": provenance.license,
        "t5serve.source.repo": provenance.repo,
        "t5serve.source.revision": provenance.revision,
    }.items():
        if value:
            writer.add_string(key, value)
    hashes = {**checkpoint.sha256(), **vocabulary.sha256()}
    writer.add_array("t5serve.source.files", list(hashes))
    writer.add_array("t5serve.source.sha256", list(hashes.values()))
    writer.add_string("t5serve.tasks", ",".join(provenance.tasks))  # llama.cpp keeps no key order
    for task, prefix in provenance.tasks.items():
        writer.add_string(f"t5serve.prefix.{task}", prefix)  # which leaves out an empty one
    for name, default in provenance.generation.items():
        key = f"t5serve.generation.{name}"
        if isinstance(default, str):
            writer.add_string(key, default)
        elif isinstance(default, int):
            writer.add_uint32(key, default)
        else:
            writer.add_float32(key, default)
    writer.add_float32("t5serve.activation.ffn_down_max", max_ffn_down_input)
