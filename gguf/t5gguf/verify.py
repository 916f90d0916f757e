"""Verifies a written file: its tensors, its vocabulary, and its logits in the serving engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import TokenType

from t5engine.config import WorkerConfig
from t5engine.cpus import plan
from t5engine.decoding.parameters import MAX_TOKENS
from t5engine.errors import EngineError
from t5engine.header import HeaderError, open_checked
from t5engine.pool.engine import Engine
from t5engine.reader import ReadError, StoredTensor
from t5gguf.checkpoint import Checkpoint
from t5gguf.errors import VerificationError
from t5gguf.reference import Reference
from t5gguf.vocab import Vocabulary
from t5gguf.weights import F32
from t5gguf.writer import PlannedTensor, load_values

MAX_INPUT_TOKENS = 512
SAMPLE_TOKENS = 12  # decoder steps per sample
MAX_NAMED_PROBES = 200  # added tokens with texts of their own; further ones share texts
NAMES_PER_PROBE = 20
MAX_LISTED = 10  # texts with other tokens that a message names
# Cases, spaces, digits, punctuation, wide and accented characters, characters of no vocabulary.
PROBES = (
    "What IS the price of 1,234.50 Dollars (USD)?",
    "  two  spaces\tand a tab ",
    "caf\u00e9 \uff21\uff22\uff23 \uff11\uff12 \ufb01nd \u00bd cup",
    "\u4eca\u5929 x\u0f00\u0f01y \U0001f355",
    "semi-detached, it's 'quoted' \u201ccurly\u201d a/b_c",
)
F16_SMALLEST = 2.0**-24  # the smallest F16 above 0; a block's scale is rounded to a multiple
# The largest error of a file's logits: the root mean square of the difference to the reference's
# logits, over their standard deviation. gguf/README.md has the measurements behind these bounds.
LOGIT_BOUNDS = {
    Type.F32: 1e-5,
    Type.F16: 3e-3,
    Type.BF16: 2e-2,
    Type.Q8_0: 5e-2,
    Type.Q6_K: 8e-2,
    Type.Q5_K: 0.2,
    Type.Q5_1: 0.2,
    Type.Q5_0: 0.2,
    Type.Q4_K: 0.25,
    Type.Q4_0: 0.5,
}
# ggml looks GELU up in a table of F16 values (GGML_GELU_FP16 in ggml-cpu/vec.h).
GATED_LOGIT_BOUND = 1e-3
# The largest error of a tensor's row: the root mean square of the difference to the source's row,
# over the root mean square of that row. These bounds are far above any quantiser's error, and far
# below the error of a wrong row (1 and more).
ROW_BOUNDS = {
    Type.F32: 0.0,
    Type.F16: 2e-3,
    Type.BF16: 4e-3,
    Type.Q8_0: 6e-2,
    Type.Q6_K: 0.15,
    Type.Q5_K: 0.3,
    Type.Q5_1: 0.3,
    Type.Q5_0: 0.3,
    Type.Q4_K: 0.5,
    Type.Q4_0: 0.5,
}


@dataclass(frozen=True)
class Sample:
    """A query with the reference's answer.

    Attributes:
        text: the query with its prefix.
        encoder_ids: the token ids of the text.
        decoder_ids: the decoder inputs, along the reference's greedy path.
        logits: the reference's logits after each decoder input, (decoder inputs, vocabulary).
    """

    text: str
    encoder_ids: list[int]
    decoder_ids: list[int]
    logits: F32


@dataclass(frozen=True)
class LogitComparison:
    """The distance between a file's logits and the reference's.

    Attributes:
        rms: root mean square of the difference over the reference's standard deviation.
        maximum: largest |difference| over the reference's standard deviation.
        agreement: share of positions where both have the same most likely token.
    """

    rms: float
    maximum: float
    agreement: float


def sample_queries(
    reference: Reference,
    vocabulary: Vocabulary,
    queries: Sequence[str],
    tokens: int = SAMPLE_TOKENS,
) -> list[Sample]:
    """Decodes each query greedily with the reference, and keeps the logits."""
    suppressed_ids = vocabulary.select_suppressed_ids(reference.config.vocab_size)
    samples = []
    for text in queries:
        encoder_ids = vocabulary.encode(text)[-MAX_INPUT_TOKENS:]
        path = reference.decode_greedily(encoder_ids, tokens, suppressed_ids)
        decoder_ids = [reference.config.decoder_start_token_id, *path[:-1]]
        logits = reference.compute_logits(encoder_ids, decoder_ids)
        samples.append(Sample(text, encoder_ids, decoder_ids, logits))
    return samples


def select_logit_bound(planned: Sequence[PlannedTensor], *, gated: bool) -> float:
    """Returns the largest allowed logit error of a file, which its coarsest type decides."""
    bounds = [LOGIT_BOUNDS[tensor.tensor_type] for tensor in planned]
    return max(GATED_LOGIT_BOUND * gated, *bounds)


def verify_file(
    path: Path,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    planned: Sequence[PlannedTensor],
    samples: Sequence[Sample],
) -> LogitComparison:
    """Reopens a file, and checks its tensors, vocabulary and logits against the checkpoint.

    Raises:
        VerificationError: lists every fault.
    """
    faults = _find_tensor_faults(path, checkpoint, vocabulary, planned)
    if faults:  # a file that is wrong on disk is not worth loading
        raise VerificationError(_format_faults(path, faults))
    try:
        comparison, faults = asyncio.run(_run_engine(path, vocabulary, samples))
    except EngineError as error:
        raise VerificationError(f"{path}: the engine can't serve the file: {error}") from error
    bound = select_logit_bound(planned, gated=checkpoint.config.is_gated)
    if not comparison.rms <= bound:  # NaN fails as well
        faults.append(
            f"the logit error is {comparison.rms:.2g} of the reference's standard deviation, "
            f"but at most {bound:g} is allowed"
        )
    if faults:
        raise VerificationError(_format_faults(path, faults))
    return comparison


def _find_tensor_faults(
    path: Path, checkpoint: Checkpoint, vocabulary: Vocabulary, planned: Sequence[PlannedTensor]
) -> list[str]:
    try:
        file = open_checked(path)
    except HeaderError as error:
        return [str(error)]
    stored_tensors = file.tensors
    planned_tensors = {tensor.entry.name: tensor for tensor in planned}
    faults = [f"missing: {name}" for name in planned_tensors.keys() - stored_tensors.keys()]
    faults += [f"unexpected: {name}" for name in stored_tensors.keys() - planned_tensors.keys()]
    for name in planned_tensors.keys() & stored_tensors.keys():
        stored, expected = stored_tensors[name], planned_tensors[name]
        if stored.shape != expected.shape or stored.tensor_type != expected.tensor_type:
            faults.append(
                f"{name} is {_format_type(stored.tensor_type)} {stored.shape}, "
                f"planned {expected.tensor_type.name} {expected.shape}"
            )
        else:
            faults += find_row_faults(name, stored, load_values(checkpoint, expected, vocabulary))
    if list(file.metadata["tokenizer.ggml.tokens"]) != list(vocabulary.tokens):
        faults.append("the vocabulary's tokens are not those of the source")
    return sorted(faults)


def find_row_faults(name: str, stored: StoredTensor, source: F32) -> list[str]:
    """Returns a fault if rows of a stored tensor are further from their source than allowed."""
    try:
        values = stored.read_rows()
    except ReadError as error:
        return [f"{name}: {error}"]
    if not np.isfinite(values).all():
        return [f"{name} has NaN or infinite values"]
    rows = source.reshape(values.shape)
    row_errors = np.sqrt(np.mean((values - rows) ** 2, axis=1))
    tensor_type = Type(stored.tensor_type)
    floors = {Type.F32: 0.0, Type.BF16: 0.0, Type.F16: F16_SMALLEST}
    floor = floors.get(tensor_type, 4096 * F16_SMALLEST)
    row_bounds = ROW_BOUNDS[tensor_type] * np.sqrt(np.mean(rows**2, axis=1)) + floor
    wrong = np.flatnonzero(row_errors > row_bounds)
    if len(wrong):
        return [f"{name}: {len(wrong)} of {len(rows)} rows are not the source's, first {wrong[0]}"]
    return []


def list_probes(vocabulary: Vocabulary) -> list[str]:
    """Returns texts whose token ids are checked besides the samples'.

    They have every kind of character that a tokenizer treats in its own way, and every added token
    at the beginning of a text, within a word, and between words.
    """
    names = [token.text for token in vocabulary.pipeline.added]
    names += [
        token
        for token, token_type in zip(vocabulary.tokens, vocabulary.token_types, strict=True)
        if token_type is TokenType.USER_DEFINED and token not in names
    ]
    probes = list(PROBES)
    for name in names[:MAX_NAMED_PROBES]:
        probes += [f"{name} how are you", f"how {name} are{name}you {name}"]
    for start in range(MAX_NAMED_PROBES, len(names), NAMES_PER_PROBE):
        probes.append(" a".join(names[start : start + NAMES_PER_PROBE]))
    return probes


async def _run_engine(
    path: Path, vocabulary: Vocabulary, samples: Sequence[Sample]
) -> tuple[LogitComparison, list[str]]:
    """Compares the engine's tokens and logits with those of the samples."""
    share = plan(1, None)[0]
    config = WorkerConfig(str(path), share.threads, list(share.cpus), MAX_INPUT_TOKENS, MAX_TOKENS)
    different = []
    comparisons = []
    async with Engine([config], max_queue=1) as engine:
        for text in [*(sample.text for sample in samples), *list_probes(vocabulary)]:
            ids = (await engine.tokenize(text)).ids
            if ids != vocabulary.encode(text):
                different.append(text)
        for sample in samples:
            logits = await engine.score(sample.encoder_ids, sample.decoder_ids)
            vocab_size = sample.logits.shape[1]  # the engine's logits also have the padded rows
            comparisons.append(compare_logits(sample.logits, logits[:, :vocab_size]))
    faults = [
        f"tokens differ from {vocabulary.tokenizer_name}'s for {text!r}"
        for text in different[:MAX_LISTED]
    ]
    if len(different) > MAX_LISTED:
        faults.append(f"tokens differ for {len(different) - MAX_LISTED} more texts")
    return (
        LogitComparison(
            rms=float(np.sqrt(np.mean([comparison.rms**2 for comparison in comparisons]))),
            maximum=max(comparison.maximum for comparison in comparisons),
            agreement=float(np.mean([comparison.agreement for comparison in comparisons])),
        ),
        faults,
    )


def compare_logits(reference: F32, logits: F32) -> LogitComparison:
    """Compares logits with a reference of the same shape, (positions, vocabulary)."""
    deviation = float(reference.std())
    difference = logits.astype(np.float64) - reference
    return LogitComparison(
        rms=float(np.sqrt(np.mean(difference**2))) / deviation,
        maximum=float(np.abs(difference).max()) / deviation,
        agreement=float(np.mean(logits.argmax(axis=1) == reference.argmax(axis=1))),
    )


def _format_type(type_number: int) -> str:
    if type_number in list(Type):
        return Type(type_number).name
    return f"of unknown type {type_number}"


def _format_faults(path: Path, faults: Sequence[str]) -> str:
    return f"{path}: {len(faults)} fault(s)\n  " + "\n  ".join(faults)
