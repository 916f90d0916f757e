"""Says what is in a GGUF file or a checkpoint, and whether it will be taken: `t5gguf inspect`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType, TokenType

from t5engine.header import HeaderError, open_checked, printable
from t5engine.reader import GGUFFile, ReadError
from t5engine.tokenization.metadata import read_pipeline
from t5gguf.checkpoint import Checkpoint
from t5gguf.command_line import FAILURE
from t5gguf.errors import ConversionError
from t5gguf.generation_config import read_defaults
from t5gguf.report import describe_defaults
from t5gguf.task_keys import read_tasks
from t5gguf.tensor_map import match_tensors
from t5gguf.vocab import Vocabulary
from t5gguf.writer import padded_rows

CLEANING_NOTE = "answers: spaces before punctuation are left out (clean_up_tokenization_spaces)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("path", type=Path, help="a GGUF file, or a checkpoint's directory")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Prints what a file or a directory is; returns 1 if it will not be taken."""
    path: Path = options.path
    facts: list[str] = []
    faults: list[str] = []
    try:
        facts.extend(inspect_checkpoint(path) if path.is_dir() else inspect_file(path))
    except (ConversionError, HeaderError, OSError) as error:
        faults = str(error).splitlines()
    facts, faults = [list(map(printable, lines)) for lines in (facts, faults)]
    if options.json:
        report = {"path": str(path), "taken": not faults, "faults": faults, "facts": facts}
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        accepted = (
            "this checkpoint can be converted" if path.is_dir() else "this file can be served"
        )
        verdict = [f"refused: {faults[0]}", *faults[1:]] if faults else [accepted]
        print("\n".join([*facts, *verdict]))
    return FAILURE if faults else 0


def inspect_checkpoint(directory: Path) -> Iterator[str]:
    """Yields what is known of a checkpoint.

    Raises:
        ConversionError: the checkpoint will not be taken.
    """
    checkpoint = Checkpoint.open(directory)
    config = checkpoint.config
    yield (
        f"{config.architecture}: {config.num_layers} + {config.num_decoder_layers} layers, "
        f"d_model {config.d_model}, {config.num_heads} heads, "
        f"{'gated' if config.is_gated else 'ReLU'} feed-forward {config.d_ff}, "
        f"head {'tied to the embedding' if config.tie_word_embeddings else 'of its own'}"
    )
    dtypes = Counter(tensor.dtype for tensor in checkpoint.tensors.values())
    types = ", ".join(f"{count} {dtype}" for dtype, count in dtypes.most_common())
    yield f"weights: {', '.join(file.name for file in checkpoint.weight_files)} ({types})"
    match_tensors(checkpoint)
    vocabulary = Vocabulary.load(directory, config, padded_rows(config.vocab_size))
    yield from _inspect_vocabulary(vocabulary, config.vocab_size)
    yield from describe_defaults(read_defaults(directory))


def _inspect_vocabulary(vocabulary: Vocabulary, vocab_size: int) -> Iterator[str]:
    used = sum(token_type is not TokenType.UNUSED for token_type in vocabulary.token_types)
    added = [token.text for token in vocabulary.pipeline.added if "<extra_id_" not in token.text]
    yield (
        f"vocabulary: {vocabulary.source.name}, {used:,} tokens of {vocab_size:,} rows; "
        f"texts are split as by {vocabulary.tokenizer_name}"
    )
    if added:
        more = f" and {len(added) - 10} more" if len(added) > 10 else ""
        yield f"added tokens: {', '.join(map(repr, added[:10]))}{more}"
    if vocabulary.pipeline.cleans_up_spaces:
        yield CLEANING_NOTE


def inspect_file(path: Path) -> Iterator[str]:
    """Yields what is known of a GGUF file.

    Raises:
        HeaderError: the file will not be served.
        OSError: the file can't be read.
    """
    try:
        file = GGUFFile.open(path)
    except ReadError:
        open_checked(path)  # says why
        raise
    metadata = file.metadata
    yield (
        f"{metadata.get('general.name', path.stem)}: architecture "
        f"{metadata.get('general.architecture', 'not given')}, "
        f"{_format_label(metadata.get('general.file_type'))}, "
        f"{path.stat().st_size / 1e6:.1f} MB, {len(file.tensors)} tensors"
    )
    types = Counter(_format_type(tensor.tensor_type) for tensor in file.tensors.values())
    yield "tensors: " + ", ".join(f"{count} {name}" for name, count in types.most_common())
    license_name = metadata.get("t5serve.license") or metadata.get("general.license")
    if license_name:
        yield f"license: {license_name}"
    for name, task in read_tasks(metadata).items():
        list_note = f", a list of queries between {task.separator!r}" if task.separator else ""
        shown = task.prefix if task.is_prefixed else task.template
        yield f"task {name}: {shown!r}{list_note}"
    open_checked(path)
    calibrated = metadata.get("t5serve.logits_calibrated") is True
    yield (
        f"vocabulary: {len(metadata['tokenizer.ggml.tokens']):,} tokens; written by "
        f"{'t5gguf' if calibrated else 'another converter, logits are scaled when it is loaded'}"
    )
    pipeline = read_pipeline(metadata)
    if pipeline is not None and pipeline.cleans_up_spaces:
        yield CLEANING_NOTE


def _format_label(label: Any) -> str:  # noqa: ANN401 - whatever the file has
    if isinstance(label, int) and label in {member.value for member in LlamaFileType}:
        return LlamaFileType(label).name
    return "no file type"


def _format_type(number: int) -> str:
    return Type(number).name if number in {member.value for member in Type} else f"type {number}"
