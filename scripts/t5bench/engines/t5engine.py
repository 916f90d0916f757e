"""Runs this engine without the service, as a worker does for one request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from t5bench.engine import Document, Generated
from t5engine import messages as wire
from t5engine.config import KernelsName, WorkerConfig
from t5engine.decoding.parameters import MAX_WIDTH, GenerationConfig
from t5engine.worker.job import Generation
from t5engine.worker.judgement import Judgement, judge
from t5engine.worker.model import load_model
from t5engine.worker.step import decode_step, run_greedily, warm_up

NO_MESSAGES = -1  # a file descriptor


class T5Engine:
    """A GGUF file, loaded as in a worker."""

    def __init__(self, path: str, threads: int, kernels: KernelsName = "auto") -> None:
        config = WorkerConfig(path, threads, [], max_input_tokens=512, kernels=kernels)
        self._model = load_model(
            Path(path),
            threads=threads,
            max_input_tokens=config.max_input_tokens,
            max_tokens=config.max_tokens,
            logit_scale=config.logit_scale,
            backend=config.backend,
            rows=max(config.max_batch, MAX_WIDTH),
            kernels=config.kernels,
        )
        warm_up(self._model)

    def generate(self, ids: Sequence[int], tokens: int, *, fixed: bool) -> Generated:
        """See `Engine`."""
        bias = {self._model.vocabulary.eos: -100.0} if fixed else {}
        config = GenerationConfig(max_tokens=tokens, logit_bias=bias)
        generation = Generation(wire.Generate(0, config, ids=list(ids)), self._model, 0)
        while generation.rows:
            if run_greedily(self._model, generation, drafts=0, descriptor=NO_MESSAGES) is None:
                decode_step(self._model, [generation])
        outcome = generation.build_outcome()
        return Generated(outcome.best.tokens, outcome.timings.encode + outcome.timings.decode)

    def judge(self, documents: Sequence[Document], tokens: Sequence[int]) -> list[list[float]]:
        """See `Engine`; tokenises the texts, as a worker does."""
        together = wire.JUDGED_TOGETHER
        positive, negative = tokens
        outcomes: list[wire.FromWorker] = []
        for start in range(0, len(documents), together):
            judgements = [
                Judgement(wire.Judge(row, document["text"], positive, negative), self._model, row)
                for row, document in enumerate(documents[start : start + together])
            ]
            outcomes += judge(self._model, judgements)
        return [
            [outcome.positive_logit, outcome.negative_logit]
            for outcome in outcomes
            if isinstance(outcome, wire.Judged)
        ]
