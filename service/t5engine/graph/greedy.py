"""Decodes a lone sequence greedily in C, several tokens per call: see greedy.c."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import c_double, c_float, c_int64, c_void_p
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from t5engine.backend import BackendError, check_ids
from t5engine.graph.decoder import DecoderGraph
from t5engine.graph.graph_backend import GraphBackend
from t5engine.kernels.loader import GreedyStepStruct, GreedyStruct, load_library

NO_LIMIT = 1 << 30  # runs of a graph
RUN_SECONDS = 0.1  # the worker also has to be fair, to send a pulse, and to try other threads


class GreedyRun(NamedTuple):
    """What a run added to a sequence.

    Attributes:
        choices: the tokens, each with the natural log of its probability.
        drafted: tokens that were drafted.
        kept: drafted tokens that were chosen.
    """

    choices: list[tuple[int, float]]
    drafted: int = 0
    kept: int = 0


class GreedyDecoder:
    """Decodes the sequence in row 0 while no other row takes part.

    Args:
        backend: what encoded the input in row 0.
        start: the decoder's start token.
        eos: id of `</s>`.
        suppressed: ids that are never generated.
    """

    def __init__(
        self, backend: GraphBackend, *, start: int, eos: int, suppressed: npt.NDArray[np.intp]
    ) -> None:
        self._backend = backend
        self._suppressed = np.ascontiguousarray(suppressed, np.int64)
        check_ids(backend, [start, eos, *self._suppressed.tolist()])
        biases = backend.decoder_bias
        self._biases = (c_void_p * len(biases))(*(bias.ctypes.data for bias in biases))
        _, heads, row_slots = biases[0].shape
        self._constants = GreedyStruct(
            compute=backend.cpu.compute_function,
            set_threads=backend.cpu.set_threads_function,
            backend=backend.cpu.backend,
            biases=ctypes.addressof(self._biases),
            suppressed=self._suppressed.ctypes.data,
            tables=len(biases),
            heads=heads,
            row_slots=row_slots,
            suppressed_count=self._suppressed.size,
            capacity=backend.max_tokens,
            n_vocab=backend.n_vocab,
            start=start,
            eos=eos,
            seconds=RUN_SECONDS,
        )

    def run(
        self,
        source: Sequence[int],
        tokens: Sequence[int],
        limit: int,
        *,
        bias: Mapping[int, float],
        drafts: int,
        descriptor: int,
    ) -> GreedyRun:
        """Continues the sequence until it ends, or until something else has to be done.

        The run ends at `</s>`, at the limit, when there is something to read, after a time, before
        a step that needs another graph, and before logits that are not finite.

        Args:
            source: the encoder's input.
            tokens: what was decoded so far.
            limit: most tokens of the sequence, at most `max_tokens` of the backend.
            bias: what is added to logits before a token is chosen, by id.
            drafts: tokens to draft from the source.
            descriptor: a file descriptor.

        Raises:
            BackendError: ggml reports a failure, or the state of the row is another.
        """
        decoded = len(tokens)
        graphs = self._backend.lone_graphs(decoded, [1, 1 + drafts] if drafts else [1])
        if not graphs or not decoded < limit <= self._backend.max_tokens:
            return GreedyRun([])
        check_ids(self._backend, [*source, *tokens, *bias])
        steps = [self._describe(graph) for graph in graphs]
        size = limit + drafts
        ids = (c_int64 * size)(*tokens)
        logits, log_totals = (c_float * size)(), (c_double * size)()
        greedy = GreedyStruct.from_buffer_copy(self._constants)
        greedy.single = ctypes.addressof(steps[0])
        greedy.drafting = ctypes.addressof(steps[1]) if len(steps) > 1 else None
        source_ids = (c_int64 * len(source))(*source)
        greedy.source, greedy.source_count = ctypes.addressof(source_ids), len(source)
        biased, biases = (c_int64 * len(bias))(*bias), (c_float * len(bias))(*bias.values())
        greedy.biased, greedy.bias = ctypes.addressof(biased), ctypes.addressof(biases)
        greedy.bias_count, greedy.descriptor = len(bias), descriptor
        saved = (c_float * (self._suppressed.size + len(bias)))()
        greedy.saved = ctypes.addressof(saved)
        end = load_library().t5_run_greedily(
            *(ctypes.addressof(greedy), decoded, limit, ids, logits, log_totals)
        )
        for graph, step in zip(graphs, steps, strict=True):
            if step.runs:
                mean = step.seconds / step.runs
                self._backend.cpu.threads.record(graph.shape_key, mean, step.runs)
        if end < 0:
            raise BackendError("ggml could not compute a decoder step")
        self._backend.set_position(0, end, clears=not greedy.is_finite)
        choices = [(ids[i], logits[i] - log_totals[i]) for i in range(decoded, end)]
        return GreedyRun(choices, greedy.drafted, greedy.kept)

    def _describe(self, graph: DecoderGraph) -> GreedyStepStruct:
        """Returns what greedy.c needs of a graph; threads that are tried compute it once."""
        step = GreedyStepStruct.from_buffer_copy(graph.greedy_step)
        threads = self._backend.cpu.threads
        step.threads = threads.choose(graph.shape_key)
        step.max_runs = 1 if threads.is_trying(graph.shape_key) else NO_LIMIT
        return step
