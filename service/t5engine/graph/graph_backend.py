"""The graph backend: many rows per step, cross-attention K and V once per input."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from t5engine.backend import (
    F32,
    BackendError,
    check_ids,
    check_row,
    check_step,
    is_finite,
    poison_if_not_finite,
)
from t5engine.graph.caches import Caches
from t5engine.graph.decoder import DecoderGraph, StepShape
from t5engine.graph.encoder import EncoderGraph
from t5engine.graph.ggml import Cpu
from t5engine.graph.graph import Graph
from t5engine.graph.padding import next_power_of_two, pad_cross_keys, pad_input_length
from t5engine.graph.position_bias import decoder_bias, encoder_bias
from t5engine.graph.weights import Weights
from t5engine.kernels.loader import Kernels
from t5engine.rows import padded_rows

GRAPH_MEMORY = 48 << 20  # bytes of all graphs that are kept for reuse
GraphT = TypeVar("GraphT", bound=Graph)
KeyT = TypeVar("KeyT")


class GraphBackend:
    """Decodes rows together, each at its own position, over separate or shared inputs.

    Args:
        path: the GGUF file.
        n_vocab: number of logits of the vocabulary; further rows of the head are padding.
        logit_scale: factor that turns the file's logits into the model's.
        max_input_tokens: longest encoder input.
        max_tokens: most decoder inputs per row.
        threads: threads of every native call.
        rows: most sequences at once, and most inputs.
        kernels: our own kernels, for the weights that they support; None: ggml's.

    Attributes:
        cpu: what computes the graphs.
        decoder_bias: (positions, heads, slots) per bias table.
    """

    name = "graph"

    def __init__(
        self,
        path: Path,
        *,
        n_vocab: int,
        logit_scale: float,
        max_input_tokens: int,
        max_tokens: int,
        threads: int,
        rows: int,
        kernels: Kernels | None = None,
    ) -> None:
        self.rows = self.inputs = rows
        self.n_vocab = n_vocab
        self.max_input_tokens = max_input_tokens
        self.max_tokens = max_tokens
        self.cpu = Cpu(threads)
        self._weights = Weights(path, self.cpu, output_scale=logit_scale, kernels=kernels)
        own = kernels if self._weights.matrices else None
        self.kernels = f"own {own.name} kernels" if own else "ggml's kernels"
        shape = self._weights.shape
        self._input_slots = pad_input_length(max_input_tokens)
        self._row_slots = next_power_of_two(max_tokens)
        self._caches = Caches(
            self.cpu, shape, rows=rows, row_slots=self._row_slots, input_slots=self._input_slots
        )
        self._encoder_bias = encoder_bias(self._weights, self._input_slots)
        self.decoder_bias = decoder_bias(self._weights, self._row_slots)
        self._encoders: OrderedDict[tuple[int, bool], EncoderGraph] = OrderedDict()
        self._decoders: OrderedDict[StepShape, DecoderGraph] = OrderedDict()
        self._positions: dict[int, int] = {}
        """Tokens decoded so far, by open row."""
        self._inputs: dict[int, int] = {}
        """Index of the input in the cross-attention cache, by open row."""
        self._input_lengths: dict[int, int] = {}
        """Tokens of each input in the cross-attention cache, by index."""
        self._inputs_with_states: set[int] = set()
        """Indices of inputs whose states are kept, without their K and V."""

    def encode(self, row: int, ids: Sequence[int], *, is_single_step: bool = False) -> None:
        check_row(self, row)
        if not 1 <= len(ids) <= self.max_input_tokens:
            raise BackendError(f"{len(ids)} input tokens, expected 1 to {self.max_input_tokens}")
        check_ids(self, ids)
        self.release(row)
        index = self._find_free_input(row)
        count, tokens = len(ids), pad_input_length(len(ids))
        keeps_states = is_single_step and bool(self._weights.state_matrices)
        graph = self._get_or_build(
            self._encoders,
            (tokens, keeps_states),
            lambda: EncoderGraph(
                self.cpu,
                self._weights,
                self._caches,
                tokens,
                self._encoder_bias,
                keeps_states=keeps_states,
            ),
        )
        graph.set_length(count)
        graph.ids[:] = 0
        graph.ids[:count] = ids
        graph.slots[:] = index * self._input_slots + np.arange(tokens)
        graph.compute()
        self._input_lengths[index] = count
        self._inputs_with_states.discard(index)
        if keeps_states:
            self._inputs_with_states.add(index)
        self._inputs[row] = index
        self._positions[row] = 0

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> list[F32]:
        return [logits[0] for logits in self.extend(rows, [[token] for token in tokens])]

    def extend(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[F32]:
        graph = self._run_decoder(rows, tokens)
        return [graph.logits[row, :, : self.n_vocab] for row in rows]

    def rewind(self, row: int, position: int) -> None:
        if not 0 <= position <= self._positions.get(row, -1):
            raise BackendError(f"row {row} can't go back to {position}")
        self._positions[row] = position

    def reorder(self, rows: Sequence[int], parents: Sequence[int]) -> None:
        if len(set(rows)) != len(rows) or len(rows) != len(parents):
            raise BackendError("expected one parent for each row")
        for row, parent in zip(rows, parents, strict=True):
            check_row(self, row)
            if parent not in self._positions:
                raise BackendError(f"row {parent} is not open")
        moves = [(row, parent) for row, parent in zip(rows, parents, strict=True) if row != parent]
        if not moves:
            return
        targets, sources = [row for row, _ in moves], [parent for _, parent in moves]
        positions = [self._positions[source] for source in sources]
        inputs = [self._inputs[source] for source in sources]
        for array in self._caches.self_arrays:
            array[targets, : max(positions)] = array[sources, : max(positions)]
        self._positions.update(zip(targets, positions, strict=True))
        self._inputs.update(zip(targets, inputs, strict=True))

    def release(self, row: int) -> None:
        self._positions.pop(row, None)
        self._inputs.pop(row, None)

    def lone_graphs(self, position: int, counts: Sequence[int]) -> list[DecoderGraph]:
        """Returns graphs for steps of row 0 alone, one for each number of tokens per step.

        Their masks are filled. A number for which the row has no room is left out, with those that
        follow. None are returned if the row's input is not the first one, or if there is no memory
        for all of them at once.

        Raises:
            BackendError: the row is not open, or at another position.
        """
        if self._positions.get(0) != position:
            raise BackendError(f"row 0 is not at position {position}")
        if self._inputs[0] != 0:
            return []
        graphs = []
        for count in counts:
            if position + count > self.max_tokens:
                break
            step, rows_by_input = self._plan_step([0], count)
            graph = self._get_decoder(step)
            graph.fill_mask(rows_by_input, self._input_lengths, count)
            graphs.append(graph)
        kept = list(self._decoders.values())
        return graphs if all(graph in kept for graph in graphs) else []

    def set_position(self, row: int, position: int, *, clears: bool) -> None:
        """Notes how many tokens of an open row its graphs have decoded.

        Args:
            row: the row.
            position: the number.
            clears: whether what was decoded after them may be NaN, and is cleared.
        """
        self._positions[row] = position
        if clears:
            self._clear_nan(row, clear_input=False)

    def limit_threads(self, threads: int) -> None:
        """Computes with at most so many threads from now on; fewer than before, or as many."""
        self.cpu.limit_threads(threads)

    def _run_decoder(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> DecoderGraph:
        """Runs one step of the decoder, and advances the position of each row."""
        count = check_step(self, self._positions, rows, tokens)
        step, rows_by_input = self._plan_step(rows, count)
        graph = self._get_decoder(step)
        # The graph also computes the rows between those given. Their K and V go to the scratch
        # slot, and their logits are not read.
        graph.slots[:] = self._caches.scratch_slot
        for row, row_tokens in zip(rows, tokens, strict=True):
            position = self._positions[row]
            first_slot = row * self._row_slots + position
            for index, token in enumerate(row_tokens):
                graph.ids[row, index] = token
                graph.slots[row, index] = first_slot + index
                for table, bias in zip(self.decoder_bias, graph.bias, strict=True):
                    bias[row, :, index] = table[position + index, :, : step.self_keys]
        graph.fill_mask(rows_by_input, self._input_lengths, count)
        graph.compute()
        if not is_finite(graph.logits[: max(rows) + 1, :, : self.n_vocab]):
            for row in rows:
                if poison_if_not_finite(graph.logits[row, :, : self.n_vocab]):
                    self._clear_nan(row, clear_input=count == 1)
        for row in rows:
            self._positions[row] += count
        return graph

    def _clear_nan(self, row: int, *, clear_input: bool) -> None:
        """Zeroes cache slots that may hold NaN, from which a mask does not protect later users.

        In the row's own cache, these are the slots that this step wrote. After a step of one
        token, the NaN may also come from the row's input, so the input is cleared too. After a
        step of several tokens, any of them may be the cause; the row can be rewound and fed them
        one by one.
        """
        for own, cross in zip(self._caches.self_arrays, self._caches.cross_arrays, strict=True):
            own[row, self._positions[row] :] = 0
            if clear_input:
                cross[self._inputs[row]] = 0
        if clear_input:
            self._caches.state_array[self._inputs[row]] = 0

    def _plan_step(self, rows: Sequence[int], count: int) -> tuple[StepShape, dict[int, list[int]]]:
        """Returns the shape of a step's graph, and the rows that attend to each input."""
        rows_by_input: dict[int, list[int]] = {}
        for row in rows:
            rows_by_input.setdefault(self._inputs[row], []).append(row)
        with_states = self._inputs_with_states & rows_by_input.keys()
        if with_states and len(with_states) < len(rows_by_input):
            raise BackendError("inputs of a single step can't share a step with others")
        computed = min(self.rows, padded_rows(max(rows) + 1))
        is_direct = all(group == [index] for index, group in rows_by_input.items())
        longest = max(self._input_lengths[index] for index in rows_by_input)
        most_rows = max(map(len, rows_by_input.values()))
        step = StepShape(
            rows=computed,
            tokens=count,
            self_keys=next_power_of_two(max(self._positions[row] for row in rows) + count),
            cross_keys=min(self._input_slots, pad_cross_keys(longest)),
            inputs=computed if is_direct else min(self.rows, padded_rows(max(rows_by_input) + 1)),
            group_size=0 if is_direct else padded_rows(most_rows),
            has_states=bool(with_states),
        )
        return step, rows_by_input

    def _find_free_input(self, row: int) -> int:
        """Returns the row's own index if that is free, so that rows and inputs match."""
        free = set(range(self.rows)) - set(self._inputs.values())
        return row if row in free else min(free)

    def _get_decoder(self, step: StepShape) -> DecoderGraph:
        tables = len(self.decoder_bias)
        return self._get_or_build(
            self._decoders,
            step,
            lambda: DecoderGraph(self.cpu, self._weights, self._caches, step, tables),
        )

    def _get_or_build(
        self, graphs: OrderedDict[KeyT, GraphT], key: KeyT, build: Callable[[], GraphT]
    ) -> GraphT:
        """Returns the graph of a key. Evicts the least recently used graphs past GRAPH_MEMORY."""
        if key in graphs:
            graphs.move_to_end(key)
            return graphs[key]
        result = graphs[key] = build()
        while len(graphs) > 1 and sum(graph.nbytes for graph in graphs.values()) > GRAPH_MEMORY:
            graphs.popitem(last=False)[1].close()
        return result
