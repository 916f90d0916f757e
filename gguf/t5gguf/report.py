"""What the command line says about a conversion."""

from __future__ import annotations

from collections.abc import Iterator

from gguf import GGML_QUANT_SIZES

from t5gguf import size
from t5gguf.convert import ConvertedFile, Converter, label_plan
from t5gguf.generation_config import GenerationDefaults
from t5gguf.quantize import F16_INPUT_LIMIT, POLICIES
from t5gguf.tensor_map import Role
from t5gguf.writer import padded_rows

MATRICES = (Role.EMBEDDING, Role.HEAD, Role.ATTENTION, Role.FFN, Role.FFN_DOWN)


def describe_defaults(defaults: GenerationDefaults) -> Iterator[str]:
    """Yields what was taken from generation_config.json, and what was not."""
    if defaults.values:
        values = ", ".join(f"{name} {value}" for name, value in defaults.values.items())
        yield f"generation_config.json: the file's defaults are {values}"
    if defaults.ignored:
        yield f"generation_config.json: not supported, left out: {', '.join(defaults.ignored)}"


def describe_source(converter: Converter) -> Iterator[str]:
    """Yields what is known once a checkpoint is loaded."""
    trimming, loss = converter.vocabulary.trimming, converter.trimming_loss
    if trimming and loss:
        yield (
            f"kept {len(trimming.kept_ids):,} of the vocabulary's {trimming.source_rows:,} rows; "
            f"of {loss.queries} sample queries {loss.same_pieces} are split into the same pieces, "
            f"{loss.same_answers} get the same answer"
        )
    if converter.max_ffn_down_input > F16_INPUT_LIMIT:
        yield (
            f"an input of ffn_down reaches {converter.max_ffn_down_input:.0f}, too much for F16: "
            "ffn_down stays BF16 in F16 files"
        )


def describe_file(converter: Converter, converted: ConvertedFile) -> Iterator[str]:
    """Yields what is known once a file is verified."""
    yield from describe_narrow_rows(converted)
    comparison = converted.comparison
    yield (
        f"{converted.path}: {converted.size / 1e6:.1f} MB, verified; logit error "
        f"{comparison.rms:.2g} of the standard deviation (rms, at most {comparison.maximum:.2g}), "
        f"same best token at {comparison.agreement:.1%} of positions"
    )
    if trimming := converter.vocabulary.trimming:
        tensors = converted.tensors
        untrimmed = size.resize_vocabulary(tensors, padded_rows(trimming.source_rows))
        yield (
            f"weights: {size.sum_bytes(tensors):,} bytes instead of {size.sum_bytes(untrimmed):,}; "
            f"a decode step reads {size.sum_step_bytes(tensors):,} "
            f"instead of {size.sum_step_bytes(untrimmed):,}"
        )


def describe_narrow_rows(converted: ConvertedFile) -> Iterator[str]:
    """Yields a line if the rows of matrices do not fit the type that was asked for."""
    file_type = converted.file_type
    block = GGML_QUANT_SIZES[POLICIES[file_type].base_type][0]
    matrices = [tensor for tensor in converted.tensors if tensor.entry.role in MATRICES]
    narrow = [tensor for tensor in matrices if tensor.shape[-1] % block]
    if narrow:
        widths = ", ".join(sorted({str(tensor.shape[-1]) for tensor in narrow}))
        types = ", ".join(sorted({tensor.tensor_type.name for tensor in narrow}))
        label = label_plan(converted.tensors, file_type).name
        yield (
            f"{len(narrow)} of {len(matrices)} matrices are {types} instead of {file_type}, whose "
            f"rows are multiples of {block} (theirs: {widths}); the file is labelled {label}"
        )
