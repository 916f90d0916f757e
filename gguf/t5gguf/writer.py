"""Writes one GGUF file: metadata, vocabulary, tensors, in t5gguf's own order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter
from tqdm import tqdm

from t5engine.relevance import RERANK_KEY, Relevance
from t5engine.tokenization.metadata import format_pipeline
from t5gguf import error_feedback
from t5gguf.checkpoint import Checkpoint
from t5gguf.ggml_quantize import count_bytes
from t5gguf.quantize import Policy, open_quantizer
from t5gguf.second_moments import SecondMoments
from t5gguf.task_keys import write_keys
from t5gguf.tasks import Task
from t5gguf.tensor_map import Role, TensorEntry
from t5gguf.vocab import Vocabulary
from t5gguf.weights import F32

ARCHITECTURE = "t5"
# ggml's repacked kernels take rows by 8 or 16 and crash on a remainder (32,100 rows, for example).
ROW_MULTIPLE = 64


@dataclass(frozen=True)
class Provenance:
    """The source of a file and the intended use of its model, both written into the file.

    Attributes:
        name: the model's name.
        repo: the repository of the checkpoint, owner/name.
        revision: the revision of the repository.
        license: the licence, by SPDX identifier where there is one.
        tasks: the tasks by name; the first is the default. A model without tasks takes queries as
            they are.
        generation: generation defaults by Hugging Face's names, as in a recipe.
        rerank: how the model reranks documents; None: it does not.
    """

    name: str
    repo: str = ""
    revision: str = ""
    license: str = ""
    tasks: dict[str, Task] = field(default_factory=dict)
    generation: dict[str, int | float | str] = field(default_factory=dict)
    rerank: Relevance | None = None


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor's type, and its shape with padded rows, in a file that is to be written."""

    entry: TensorEntry
    tensor_type: Type
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of the tensor in the file."""
        return count_bytes(self.shape, self.tensor_type)


def padded_rows(vocab_size: int) -> int:
    """Returns the number of rows of the embedding and the head in the file."""
    return math.ceil(vocab_size / ROW_MULTIPLE) * ROW_MULTIPLE


def write_file(
    path: Path,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    tensors: Sequence[PlannedTensor],
    policy: Policy,
    provenance: Provenance,
    *,
    max_ffn_down_input: float,
    moments: SecondMoments | None = None,
    progress: bool = True,
) -> None:
    """Writes the file, one tensor at a time, so that memory holds only the largest one.

    With moments, the types in `error_feedback.TYPES` are quantised with error feedback.
    """
    writer = GGUFWriter(path, ARCHITECTURE)
    try:
        _add_model_metadata(writer, checkpoint, policy)
        _add_vocabulary_metadata(writer, vocabulary, checkpoint)
        _add_source_metadata(writer, checkpoint, vocabulary, provenance, max_ffn_down_input)
        if moments is not None:
            writer.add_uint32("t5serve.calibration.queries", moments.queries)
        for tensor in tensors:
            writer.add_tensor_info(
                tensor.entry.name,
                tensor.shape,
                np.dtype(np.float32),
                tensor.nbytes,
                tensor.tensor_type,
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        _write_tensors(writer, checkpoint, vocabulary, tensors, moments, progress=progress)
    finally:
        writer.close()


def _write_tensors(
    writer: GGUFWriter,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    tensors: Sequence[PlannedTensor],
    moments: SecondMoments | None,
    *,
    progress: bool,
) -> None:
    total = sum(tensor.nbytes for tensor in tensors)
    with (
        open_quantizer() as quantize,
        tqdm(total=total, unit="B", unit_scale=True, desc="writing", disable=not progress) as bar,
    ):
        for tensor in tensors:
            entry, tensor_type = tensor.entry, tensor.tensor_type
            values = load_values(checkpoint, tensor, vocabulary)
            moment_sum = None
            if moments and tensor_type in error_feedback.TYPES and entry.source in moments:
                moment_sum, _ = moments.get_sum(entry.source)
            writer.write_tensor_data(quantize(entry.name, values, tensor_type, moment_sum))
            bar.update(tensor.nbytes)


def load_values(checkpoint: Checkpoint, tensor: PlannedTensor, vocabulary: Vocabulary) -> F32:
    """Returns a tensor's values as the file has them before quantisation.

    The output scale of a tied model goes into the decoder's last norm, since llama.cpp's graph
    leaves the scale out. Rows added to the vocabulary repeat the row of `<unk>`: zeros would give
    logit 0, which is more than most real tokens have.
    """
    values = checkpoint.tensors[tensor.entry.source].load()
    if tensor.entry.role is Role.OUTPUT_NORM:
        return values * np.float32(checkpoint.config.output_scale)
    if values.shape == tensor.shape:
        return values
    unk_row = values[[vocabulary.unk_token_id]]
    padding = np.repeat(unk_row, tensor.shape[0] - len(values), axis=0)
    return np.concatenate([values, padding])


def _add_model_metadata(writer: GGUFWriter, checkpoint: Checkpoint, policy: Policy) -> None:
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
    writer.add_uint32("t5serve.vocab_size", config.vocab_size)  # the rows after these are padding
    writer.add_bool("t5serve.logits_calibrated", True)  # noqa: FBT003 - gguf's signature
    writer.add_uint32(
        "t5serve.relative_attention_max_distance", config.relative_attention_max_distance
    )


def _add_vocabulary_metadata(
    writer: GGUFWriter, vocabulary: Vocabulary, checkpoint: Checkpoint
) -> None:
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    if vocabulary.trimming:
        writer.add_uint32("t5serve.trimming.rows", vocabulary.trimming.source_rows)
        writer.add_string("t5serve.trimming.sha256", vocabulary.trimming.text_sha256)
    writer.add_token_list([token.encode() for token in vocabulary.tokens])
    writer.add_token_scores(vocabulary.scores)
    writer.add_token_types(vocabulary.token_types)
    writer.add_add_space_prefix(vocabulary.add_space_prefix)
    writer.add_remove_extra_whitespaces(vocabulary.remove_extra_whitespaces)
    if vocabulary.precompiled_charsmap:
        writer.add_precompiled_charsmap(vocabulary.precompiled_charsmap)
    for key, value in format_pipeline(vocabulary.pipeline).items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    writer.add_pad_token_id(checkpoint.config.pad_token_id)
    writer.add_eos_token_id(checkpoint.config.eos_token_id)
    writer.add_unk_token_id(vocabulary.unk_token_id)
    writer.add_add_bos_token(False)  # noqa: FBT003 - gguf's signature
    writer.add_add_eos_token(True)  # noqa: FBT003 - gguf's signature


def _add_source_metadata(
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
    hashes = {**checkpoint.hash_weights(), **vocabulary.hash_source()}
    writer.add_array("t5serve.source.files", list(hashes))
    writer.add_array("t5serve.source.sha256", list(hashes.values()))
    for key, setting in write_keys(provenance.tasks).items():
        if isinstance(setting, str):
            writer.add_string(key, setting)
        else:
            writer.add_uint32(key, setting)
    rerank = {} if provenance.rerank is None else msgspec.structs.asdict(provenance.rerank)
    for name, text in rerank.items():
        writer.add_string(f"{RERANK_KEY}{name}", text)
    for name, default in provenance.generation.items():
        key = f"t5serve.generation.{name}"
        if isinstance(default, str):
            writer.add_string(key, default)
        elif isinstance(default, int):
            writer.add_uint32(key, default)
        else:
            writer.add_float32(key, default)
    writer.add_float32("t5serve.activation.ffn_down_max", max_ffn_down_input)
