"""Proves a written file: its tensors, its vocabulary, its logits in the engine that serves it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type

from t5engine.config import MAX_TOKENS, WorkerConfig
from t5engine.cpus import plan
from t5engine.errors import EngineError
from t5engine.pool.engine import Engine
from t5engine.reader import GGUFFile, ReadError, StoredTensor
from t5gguf.checkpoint import F32, Checkpoint
from t5gguf.errors import VerificationError
from t5gguf.reference import Reference
from t5gguf.vocab import Vocabulary
from t5gguf.writer import PlannedTensor, load

MAX_INPUT_TOKENS = 512
TOKENS = 12  # decoder steps of a sample
F16_STEP = 2.0**-24  # the smallest F16; a block's scale is rounded to it
# The most that a file's logits may be off the reference's: root mean square of the difference
# over the reference's standard deviation. gguf/README.md has the measurements behind them.
BOUNDS = {
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
GATED_BOUND = 1e-3
# The most that a row of a tensor may be off its source: likewise, over the row's own root mean
# square. Far above any quantiser's error, far below that of a wrong row (1 and more).
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
    """One query's tokens, the decoder inputs after them, and the reference's logits for those."""

    text: str
    encoder_ids: list[int]
    decoder_ids: list[int]
    logits: F32


@dataclass(frozen=True)
class Figures:
    """How far a file's logits are from the reference's.

    Attributes:
        rms: root mean square of the difference over the reference's standard deviation.
        maximum: largest |difference| over the same.
        agreement: share of positions whose most likely token is the reference's.
    """

    rms: float
    maximum: float
    agreement: float


def sample(
    reference: Reference, vocabulary: Vocabulary, queries: Sequence[str], tokens: int = TOKENS
) -> list[Sample]:
    """The reference's greedy path over each query, with its logits."""
    suppressed = vocabulary.suppressed(reference.config.vocab_size)
    samples = []
    for text in queries:
        encoder_ids = vocabulary.encode(text)[-MAX_INPUT_TOKENS:]
        path = reference.greedy(encoder_ids, tokens, suppressed)
        decoder_ids = [reference.config.decoder_start_token_id, *path[:-1]]
        logits = reference.logits(encoder_ids, decoder_ids)
        samples.append(Sample(text, encoder_ids, decoder_ids, logits))
    return samples


def bound(planned: Sequence[PlannedTensor], *, gated: bool) -> float:
    """The most that the logits of a file of these types may be off: the coarsest type decides."""
    return max(GATED_BOUND * gated, *(BOUNDS[tensor.kind] for tensor in planned))


def verify(
    path: Path,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    planned: Sequence[PlannedTensor],
    samples: Sequence[Sample],
) -> Figures:
    """Reopens the file and checks all that was promised of it.

    Raises:
        VerificationError: lists every fault.
    """
    faults = _check_tensors(path, checkpoint, vocabulary, planned)
    if faults:  # a file that is wrong on disk is not worth loading
        raise VerificationError(_listing(path, faults))
    try:
        figures, faults = asyncio.run(_check_engine(path, vocabulary, samples))
    except EngineError as error:
        raise VerificationError(f"{path}: the engine can't serve it: {error}") from error
    most = bound(planned, gated=checkpoint.config.is_gated)
    if not figures.rms <= most:  # NaN fails as well
        faults.append(
            f"logits are off by {figures.rms:.2g} of their deviation, at most {most:g} is expected"
        )
    if faults:
        raise VerificationError(_listing(path, faults))
    return figures


def _check_tensors(
    path: Path, checkpoint: Checkpoint, vocabulary: Vocabulary, planned: Sequence[PlannedTensor]
) -> list[str]:
    try:
        file = GGUFFile.open(path)
    except ReadError as error:
        return [str(error)]
    found = file.tensors
    wanted = {tensor.entry.name: tensor for tensor in planned}
    faults = [f"missing: {name}" for name in wanted.keys() - found.keys()]
    faults += [f"unexpected: {name}" for name in found.keys() - wanted.keys()]
    for name in wanted.keys() & found.keys():
        stored, plan = found[name], wanted[name]
        if stored.shape != plan.shape or stored.tensor_type != plan.kind:
            faults.append(
                f"{name} is {_type_name(stored.tensor_type)} {stored.shape}, "
                f"planned {plan.kind.name} {plan.shape}"
            )
        else:
            faults += _check_values(name, stored, load(checkpoint, plan, vocabulary))
    if list(file.metadata["tokenizer.ggml.tokens"]) != list(vocabulary.tokens):
        faults.append("the vocabulary's tokens are not those of the source")
    return sorted(faults)


def _check_values(name: str, stored: StoredTensor, source: F32) -> list[str]:
    try:
        values = stored.read_rows()
    except ReadError as error:
        return [f"{name}: {error}"]
    if not np.isfinite(values).all():
        return [f"{name} has NaN or infinite values"]
    rows = source.reshape(values.shape)
    off = np.sqrt(np.mean((values - rows) ** 2, axis=1))
    kind = Type(stored.tensor_type)
    floor = {Type.F32: 0.0, Type.BF16: 0.0, Type.F16: F16_STEP}.get(kind, 4096 * F16_STEP)
    allowed = ROW_BOUNDS[kind] * np.sqrt(np.mean(rows**2, axis=1)) + floor
    wrong = np.flatnonzero(off > allowed)
    if len(wrong):
        return [f"{name}: {len(wrong)} of {len(rows)} rows are not the source's, first {wrong[0]}"]
    return []


async def _check_engine(
    path: Path, vocabulary: Vocabulary, samples: Sequence[Sample]
) -> tuple[Figures, list[str]]:
    share = plan(1, None)[0]
    config = WorkerConfig(str(path), share.threads, list(share.cpus), MAX_INPUT_TOKENS, MAX_TOKENS)
    faults = []
    measured = []
    async with Engine([config], max_queue=1) as engine:
        for one in samples:
            ids = (await engine.tokenize(one.text)).ids
            if ids != vocabulary.encode(one.text):
                faults.append(f"tokens differ from SentencePiece's for {one.text!r}")
            logits = await engine.score(one.encoder_ids, one.decoder_ids)
            measured.append(compare(one.logits, logits[:, : one.logits.shape[1]]))
    return (
        Figures(
            rms=float(np.sqrt(np.mean([f.rms**2 for f in measured]))),
            maximum=max(f.maximum for f in measured),
            agreement=float(np.mean([f.agreement for f in measured])),
        ),
        faults,
    )


def compare(reference: F32, logits: F32) -> Figures:
    """Figures of logits against a reference of the same shape, (positions, vocabulary)."""
    deviation = float(reference.std())
    difference = logits.astype(np.float64) - reference
    return Figures(
        rms=float(np.sqrt(np.mean(difference**2))) / deviation,
        maximum=float(np.abs(difference).max()) / deviation,
        agreement=float(np.mean(logits.argmax(axis=1) == reference.argmax(axis=1))),
    )


def _type_name(kind: int) -> str:
    return Type(kind).name if kind in list(Type) else f"of unknown type {kind}"


def _listing(path: Path, faults: Sequence[str]) -> str:
    return f"{path}: {len(faults)} fault(s)\n  " + "\n  ".join(faults)
