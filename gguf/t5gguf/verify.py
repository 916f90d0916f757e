"""Proves a written file: its tensors, its vocabulary, its logits in the engine that serves it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader
from gguf.quants import dequantize

from t5gguf.checkpoint import F32
from t5gguf.errors import VerificationError
from t5gguf.reference import Reference
from t5gguf.vocab import Vocabulary
from t5gguf.writer import PlannedTensor
from t5serve.cpus import plan
from t5serve.engine.config import MAX_TOKENS, WorkerConfig
from t5serve.engine.engine import Engine
from t5serve.errors import RequestError, StartupError

MAX_INPUT_TOKENS = 512
# The most that a file's logits may be off the reference's: root mean square of the difference
# over the reference's standard deviation. gguf/README.md has the measurements behind them.
BOUNDS = {
    "F32": 1e-3,
    "F16": 3e-3,
    "BF16": 2e-2,
    "Q8_0": 5e-2,
    "Q6_K": 8e-2,
    "Q5_K_M": 0.2,
    "Q4_K_M": 0.25,
    "Q4_0": 0.5,
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
    reference: Reference, vocabulary: Vocabulary, queries: Sequence[str], tokens: int = 12
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


def verify(
    path: Path,
    planned: Sequence[PlannedTensor],
    vocabulary: Vocabulary,
    samples: Sequence[Sample],
    file_type: str,
) -> Figures:
    """Reopens the file and checks all that was promised of it.

    Raises:
        VerificationError: lists every fault.
    """
    faults = _check_tensors(path, planned)
    if faults:  # a file that is wrong on disk is not worth loading
        raise VerificationError(_listing(path, faults))
    try:
        figures, faults = asyncio.run(_check_engine(path, vocabulary, samples))
    except (StartupError, RequestError) as error:
        raise VerificationError(f"{path}: the engine can't serve it: {error}") from error
    if not figures.rms <= BOUNDS[file_type]:  # NaN fails as well
        faults.append(
            f"logits are off by {figures.rms:.2g} of their deviation, "
            f"{file_type} may be by {BOUNDS[file_type]:g}"
        )
    if faults:
        raise VerificationError(_listing(path, faults))
    return figures


def _check_tensors(path: Path, planned: Sequence[PlannedTensor]) -> list[str]:
    found = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    wanted = {tensor.entry.name: tensor for tensor in planned}
    faults = [f"missing: {name}" for name in wanted.keys() - found.keys()]
    faults += [f"unexpected: {name}" for name in found.keys() - wanted.keys()]
    for name in wanted.keys() & found.keys():
        shape = tuple(int(n) for n in reversed(found[name].shape))
        kind = Type(found[name].tensor_type)
        if shape != wanted[name].shape or kind is not wanted[name].kind:
            faults.append(
                f"{name} is {kind.name} {shape}, "
                f"planned {wanted[name].kind.name} {wanted[name].shape}"
            )
        elif not np.isfinite(dequantize(found[name].data, kind)).all():
            faults.append(f"{name} has NaN or infinite values")
    return sorted(faults)


async def _check_engine(
    path: Path, vocabulary: Vocabulary, samples: Sequence[Sample]
) -> tuple[Figures, list[str]]:
    share = plan(1, None)[0]
    config = WorkerConfig(str(path), share.threads, list(share.cpus), MAX_INPUT_TOKENS, MAX_TOKENS)
    engine = Engine([config], max_queue=1)
    engine.start()
    try:
        await engine.ready()
        faults = []
        measured = []
        for one in samples:
            ids = await engine.tokenize(one.text)
            if ids != vocabulary.encode(one.text):
                faults.append(f"tokens differ from SentencePiece's for {one.text!r}")
            logits = await engine.score(one.encoder_ids, one.decoder_ids)
            measured.append(compare(one.logits, logits[:, : one.logits.shape[1]]))
    finally:
        await engine.close()
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


def _listing(path: Path, faults: Sequence[str]) -> str:
    return f"{path}: {len(faults)} fault(s)\n  " + "\n  ".join(faults)
