"""Shared by the tests of decoding: golden cases, files, and generations in this process.

Models get one thread: a step of a tiny model takes less time than two threads need to synchronise.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from support import tiny
from support.parity import golden
from t5engine.config import KernelsName
from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.processors import Processors
from t5engine.messages import Failed, Generate, Generated, Output, Progress, Token
from t5engine.worker.job import Generation
from t5engine.worker.model import Model, load_model
from t5engine.worker.step import decode_step
from t5gguf.checkpoint import Checkpoint
from t5gguf.convert import Converter
from t5gguf.reference import DecoderState, Reference
from t5gguf.writer import Provenance

PAD, EOS, UNK = 0, tiny.EOS, 2
QUERIES = tiny.QUERIES.read_text(encoding="utf-8").splitlines()


@dataclass
class SamplingCase:
    """A distribution by transformers; see golden/sampling.py.

    Attributes:
        options: options of the configuration, by our names.
        start: the decoder's start token.
        tokens: the tokens that follow the start token.
        logits: the logits after the tokens, (n_vocab,).
        suppressed: ids that are never generated.
        probabilities: the probability of every id, (n_vocab,).
    """

    options: dict[str, Any]
    start: int
    tokens: list[int]
    logits: F32
    suppressed: npt.NDArray[np.intp]
    probabilities: F32

    @property
    def config(self) -> GenerationConfig:
        return GenerationConfig(max_tokens=1, do_sample=True, **self.options)

    @property
    def processed(self) -> F32:
        """The logits after our processors have run."""
        processors = Processors(self.config, start=self.start, suppressed=self.suppressed)
        return processors(self.logits, self.tokens)


def sampling_cases() -> list[SamplingCase]:
    document = golden("sampling")
    pieces = document["pieces"]
    cases = []
    for case in document["cases"]:
        prefix = document["prefixes"][case["prefix"]]
        logits = _floats(prefix["logits"])
        probabilities = np.zeros(logits.size, np.float32)
        probabilities[:pieces] = _floats(case["probabilities"])
        options = dict(case["kwargs"])
        bias = options.pop("sequence_bias", [])
        if bias:
            options["logit_bias"] = {token: value for [token], value in bias}
        start, *tokens = prefix["decoder_ids"]
        suppressed = np.array([PAD, UNK, *range(pieces, logits.size)], np.intp)
        cases.append(SamplingCase(options, start, tokens, logits, suppressed, probabilities))
    return cases


def convert(checkpoint: Path, file: Path, file_type: str = "F32") -> Path:
    """Converts a checkpoint to a GGUF file, and returns the file's path."""
    converter = Converter(checkpoint, Provenance(checkpoint.name), QUERIES[:1])
    return converter.convert(file, file_type, progress=False).path


def open_model(
    path: Path, backend: Literal["graph", "llama"], rows: int = 20, *, kernels: KernelsName = "auto"
) -> Model:
    return load_model(
        path,
        threads=1,
        max_input_tokens=64,
        max_tokens=64,
        logit_scale=None,
        backend=backend,
        rows=rows,
        kernels=kernels,
    )


def golden_config(kwargs: dict[str, Any]) -> GenerationConfig:
    """Returns the configuration equivalent to arguments of transformers' `generate`."""
    renamed = {"max_new_tokens": "max_tokens"}
    return GenerationConfig(**{renamed.get(name, name): value for name, value in kwargs.items()})


def with_end(output: Output) -> list[int]:
    """Returns a sequence's ids as in the golden files, `</s>` included."""
    has_eos = output.decoded > len(output.tokens)
    return [*output.tokens, EOS] if has_eos else output.tokens


class ReferenceBackend:
    """The converter's numpy model, which is exact: F32 throughout, and GELU without a table."""

    name = "reference"
    kernels = "numpy's"
    rows = inputs = 20
    max_input_tokens = max_tokens = 64

    def __init__(self, checkpoint: Path) -> None:
        self._reference = Reference(Checkpoint.open(checkpoint))
        self.n_vocab = self._reference.config.vocab_size
        self._states: dict[int, DecoderState] = {}

    def encode(self, row: int, ids: Sequence[int], *, is_single_step: bool = False) -> None:
        del is_single_step
        self._states[row] = self._reference.start(self._reference.encode(list(ids)))

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> list[F32]:
        pairs = zip(rows, tokens, strict=True)
        return [self._reference.step(self._states[row], token) for row, token in pairs]

    def extend(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[F32]:
        steps = [self.step(rows, column) for column in zip(*tokens, strict=True)]
        return [np.stack(logits) for logits in zip(*steps, strict=True)]

    def rewind(self, row: int, position: int) -> None:
        raise NotImplementedError  # nothing is drafted here

    def reorder(self, rows: Sequence[int], parents: Sequence[int]) -> None:
        states = [self._states[parent] for parent in parents]
        copies = [
            DecoderState(state.cross_attention, list(state.self_attention), state.length)
            for state in states
        ]
        self._states.update(zip(rows, copies, strict=True))

    def release(self, row: int) -> None:
        self._states.pop(row, None)


@dataclass
class Answer:
    """All messages of one job."""

    outcome: Generated | Failed | None = None
    progress: list[Progress] = field(default_factory=list)

    @property
    def outputs(self) -> list[Output]:
        assert isinstance(self.outcome, Generated), self.outcome
        return self.outcome.outputs

    @property
    def sequences(self) -> list[list[int]]:
        return [with_end(output) for output in self.outputs]

    def streamed(self, index: int) -> tuple[str, list[Token]]:
        """Returns the text and tokens of one sequence, joined from its parts."""
        parts = [part for part in self.progress if part.index == index]
        assert all(part.text or part.details for part in parts)
        tokens = [token for part in parts for token in part.details or []]
        return "".join(part.text for part in parts), tokens


def run(
    model: Model, requests: Iterable[Generate], joins: Sequence[int] = (), *, drafts: int = 0
) -> list[Answer]:
    """Runs jobs, which start in the given order as soon as there is room.

    Args:
        model: the model; every row is free again afterwards.
        requests: the jobs, numbered from 0.
        joins: the earliest step at which each job joins; all join at once by default.
        drafts: tokens to draft for a sequence that is decoded alone.

    Returns:
        The answer to each job.
    """
    pending = list(requests)
    answers = [Answer() for _ in pending]
    active: list[Generation] = []
    step = 0
    while pending or active:
        while pending and (not active or step >= max(joins[: pending[0].job + 1], default=0)):
            width = pending[0].config.width + sum(generation.width for generation in active)
            if active and (width > model.backend.rows or len(active) == model.backend.inputs):
                break
            used = {row for generation in active for row in generation.rows}
            row = min(set(range(model.backend.rows)) - used)
            active.append(Generation(pending.pop(0), model, row))
        _check_rows(active)
        for message in decode_step(model, active, drafts):
            assert isinstance(message, Progress | Generated | Failed)
            answer = answers[message.job]
            assert answer.outcome is None
            if isinstance(message, Progress):
                answer.progress.append(message)
            else:
                answer.outcome = message
        active = [generation for generation in active if generation.rows]
        step += 1
    return answers


def run_one(model: Model, request: Generate, *, drafts: int = 0) -> Answer:
    """Runs job 0 alone."""
    return run(model, [request], drafts=drafts)[0]


def _floats(text: str) -> F32:
    return np.frombuffer(base64.b64decode(text), "<f4")


def _check_rows(active: Sequence[Generation]) -> None:
    """Checks that a row decodes one sequence, and that no row is much above their number."""
    rows = [row for generation in active for row in generation.rows]
    assert len(set(rows)) == len(rows)
    assert max(rows) < len(rows) + 4
    for generation in active:
        assert len(generation.rows) == len(generation.tokens) <= generation.width
