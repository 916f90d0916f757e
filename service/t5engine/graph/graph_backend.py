"""The backend on ggml's graphs: many rows a step, cross-attention K and V once per input."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from t5engine.backend import F32, BackendError, check_ids, check_row, check_step, spoil
from t5engine.graph.caches import Caches
from t5engine.graph.decoder import DecoderGraph, StepShape
from t5engine.graph.encoder import EncoderGraph
from t5engine.graph.ggml import Cpu
from t5engine.graph.graph import Graph
from t5engine.graph.weights import Weights
from t5engine.relative import relative_position_bucket
from t5engine.rows import height

GRAPH_MEMORY = 48 << 20  # bytes that kept graphs may take
Kept = TypeVar("Kept", bound=Graph)
Key = TypeVar("Key")


class GraphBackend:
    """Decodes rows at once, each at its own position over an input of its own or a shared one.

    Args:
        path: the GGUF file.
        n_vocab: logits that belong to the vocabulary; rows beyond are padding.
        logit_scale: factor on the file's logits that makes them the model's.
        max_input_tokens: longest encoder input.
        max_tokens: most decoder inputs of a row.
        threads: of every native call.
        rows: sequences at once, and inputs.
        own_kernels: whether to multiply with our own kernels where they can be used.
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
        own_kernels: bool = True,
    ) -> None:
        self.rows = self.inputs = rows
        self.n_vocab = n_vocab
        self.max_input_tokens = max_input_tokens
        self.max_tokens = max_tokens
        self._cpu = Cpu(threads)
        self._weights = Weights(path, self._cpu, output_scale=logit_scale, own_kernels=own_kernels)
        self.kernels = "own kernels" if self._weights.matrices else "ggml's kernels"
        shape = self._weights.shape
        self._span = _bucket(max_input_tokens)
        self._cells = _power(max_tokens)
        self._caches = Caches(self._cpu, shape, rows=rows, cells=self._cells, span=self._span)
        self._encoder_bias = self._weights.bias_tables("enc", shape.encoder_layers)
        self._decoder_bias = self._positions()
        self._encoders: OrderedDict[int, EncoderGraph] = OrderedDict()
        self._decoders: OrderedDict[StepShape, DecoderGraph] = OrderedDict()
        self._position: dict[int, int] = {}
        """Of each open row: tokens decoded so far."""
        self._input: dict[int, int] = {}
        """Of each open row: the number of its input in the cross cache."""
        self._length: dict[int, int] = {}
        """Of each input in the cross cache: its tokens."""

    def encode(self, row: int, ids: Sequence[int]) -> None:
        check_row(self, row)
        if not 1 <= len(ids) <= self.max_input_tokens:
            raise BackendError(f"{len(ids)} input tokens, expected 1 to {self.max_input_tokens}")
        check_ids(self, ids)
        self.release(row)
        number = self._free_input(row)
        count, tokens = len(ids), _bucket(len(ids))
        tables = len(self._encoder_bias)
        graph = self._kept(
            self._encoders,
            tokens,
            lambda: EncoderGraph(self._cpu, self._weights, self._caches, tokens, tables),
        )
        graph.ids[:] = 0
        graph.ids[:count] = ids
        distance = np.arange(tokens)[None, :] - np.arange(tokens)[:, None]
        bucket = self._bucket_of(distance, bidirectional=True)
        for table, bias in zip(self._encoder_bias, graph.bias, strict=True):
            bias[:] = table[bucket].transpose(2, 0, 1)
            bias[:, :, count:] = -np.inf
        graph.lines[:] = number * self._span + np.arange(tokens)
        graph.compute()
        self._length[number] = count
        self._input[row] = number
        self._position[row] = 0

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> list[F32]:
        return [logits[0] for logits in self.extend(rows, [[token] for token in tokens])]

    def extend(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[F32]:
        graph = self._run(rows, tokens)
        return [graph.logits[row, :, : self.n_vocab] for row in rows]

    def rewind(self, row: int, position: int) -> None:
        if not 0 <= position <= self._position.get(row, -1):
            raise BackendError(f"row {row} can't go back to {position}")
        self._position[row] = position

    def reorder(self, rows: Sequence[int], parents: Sequence[int]) -> None:
        if len(set(rows)) != len(rows) or len(rows) != len(parents):
            raise BackendError("expected one parent for each row")
        for row, parent in zip(rows, parents, strict=True):
            check_row(self, row)
            if parent not in self._position:
                raise BackendError(f"row {parent} is not open")
        moves = [(row, parent) for row, parent in zip(rows, parents, strict=True) if row != parent]
        if not moves:
            return
        targets, sources = ([move[end] for move in moves] for end in (0, 1))
        positions = [self._position[source] for source in sources]
        inputs = [self._input[source] for source in sources]
        for own in self._caches.own_values:
            own[targets, : max(positions)] = own[sources, : max(positions)]
        self._position.update(zip(targets, positions, strict=True))
        self._input.update(zip(targets, inputs, strict=True))

    def release(self, row: int) -> None:
        self._position.pop(row, None)
        self._input.pop(row, None)

    def _run(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> DecoderGraph:
        """One step of the decoder; afterwards each row is so many tokens further."""
        count = check_step(self, self._position, rows, tokens)
        step, members = self._step_shape(rows, count)
        tables = len(self._decoder_bias)
        graph = self._kept(
            self._decoders,
            step,
            lambda: DecoderGraph(self._cpu, self._weights, self._caches, step, tables),
        )
        # Rows between those given are computed as well: what they write goes to a line of its
        # own, and what comes out is nobody's.
        graph.lines[:] = self._caches.scratch
        for row, values in zip(rows, tokens, strict=True):
            position = self._position[row]
            graph.ids[row] = values
            graph.lines[row] = range(
                row * self._cells + position, row * self._cells + position + count
            )
            for table, bias in zip(self._decoder_bias, graph.bias, strict=True):
                for token in range(count):
                    bias[row, :, token] = table[position + token, :, : step.cells]
        self._mask(graph, members, count)
        graph.compute()
        for row in rows:
            if spoil(graph.logits[row, :, : self.n_vocab]):
                self._clean(row, whole=count == 1)
            self._position[row] += count
        return graph

    def _clean(self, row: int, *, whole: bool) -> None:
        """Takes NaN out of the caches: a mask does not keep them from those who come.

        Of a row's own, what this step wrote. After one token its input's go as well, which may be
        where they come from; after several they may come from any of these, and the row can go
        back and be fed them one by one.
        """
        for own, cross in zip(self._caches.own_values, self._caches.cross_values, strict=True):
            own[row, self._position[row] :] = 0
            if whole:
                cross[self._input[row]] = 0

    def _mask(self, graph: DecoderGraph, members: dict[int, list[int]], count: int) -> None:
        """Says which row may look at which input; the graph remembers it from step to step."""
        company = tuple((n, self._length[n], tuple(group)) for n, group in members.items())
        if graph.company == company:
            return
        graph.mask[:] = -np.inf
        graph.mask[:, :, 0] = 0  # of rows that are nobody's, too: no look at all would be NaN
        for number in members:
            graph.mask[number, :, : self._length[number]] = 0
        if graph.groups is not None:
            _fill_groups(*graph.groups, members, count)
        graph.company = company

    def _step_shape(
        self, rows: Sequence[int], count: int
    ) -> tuple[StepShape, dict[int, list[int]]]:
        """What graph a step needs, and which rows ask each input."""
        members: dict[int, list[int]] = {}
        for row in rows:
            members.setdefault(self._input[row], []).append(row)
        computed = min(self.rows, height(max(rows) + 1))
        direct = all(group == [number] for number, group in members.items())
        longest = max(self._length[number] for number in members)
        return (
            StepShape(
                rows=computed,
                tokens=count,
                cells=_power(max(self._position[row] for row in rows) + count),
                span=min(self._span, _span_bucket(longest)),
                inputs=computed if direct else min(self.rows, height(max(members) + 1)),
                group=0 if direct else height(max(map(len, members.values()))),
            ),
            members,
        )

    def _positions(self) -> list[npt.NDArray[np.float32]]:
        """Per table the bias of every position, (positions, heads, cells); -inf past it."""
        cells = np.arange(self._cells)
        distance = cells[None, :] - cells[:, None]
        bucket = self._bucket_of(distance, bidirectional=False)
        biases = []
        for table in self._weights.bias_tables("dec", self._weights.shape.decoder_layers):
            bias = table[bucket].transpose(0, 2, 1).astype(np.float32)
            bias[np.broadcast_to((distance > 0)[:, None, :], bias.shape)] = -np.inf
            biases.append(np.ascontiguousarray(bias))
        return biases

    def _bucket_of(
        self, distance: npt.NDArray[np.int_], *, bidirectional: bool
    ) -> npt.NDArray[np.int_]:
        shape = self._weights.shape
        return relative_position_bucket(
            distance, shape.buckets, shape.max_distance, bidirectional=bidirectional
        )

    def _free_input(self, row: int) -> int:
        """The row's own number where it is free, so that rows and inputs match."""
        free = set(range(self.rows)) - set(self._input.values())
        return row if row in free else min(free)

    def _kept(self, graphs: OrderedDict[Key, Kept], key: Key, make: Callable[[], Kept]) -> Kept:
        """A graph from those kept, or a new one in place of the longest unused."""
        if key in graphs:
            graphs.move_to_end(key)
            return graphs[key]
        graph = graphs[key] = make()
        while len(graphs) > 1 and sum(kept.nbytes for kept in graphs.values()) > GRAPH_MEMORY:
            graphs.popitem(last=False)[1].close()
        return graph


def _fill_groups(
    gather: npt.NDArray[np.int32],
    scatter: npt.NDArray[np.int32],
    members: dict[int, list[int]],
    count: int,
) -> None:
    """Lines up the rows' tokens by the input that they ask, and says where each went."""
    gather[:] = 0
    scatter[:] = 0
    tokens = np.arange(count)
    for number, group in members.items():
        for place, row in enumerate(group):
            first = place * count
            gather[number, first : first + count] = row * count + tokens
            scatter[row] = number * gather.shape[1] + first + tokens


def _bucket(tokens: int) -> int:
    """Encoder lengths: by 4 (what the matrix kernels take at once), later by 32 and 128."""
    step = 4 if tokens <= 64 else 32 if tokens <= 256 else 128
    return -(-tokens // step) * step


def _span_bucket(tokens: int) -> int:
    """Input lengths in the decoder: by 16 up to 64, then powers of two."""
    return -(-tokens // 16) * 16 if tokens <= 64 else _power(tokens)


def _power(size: int) -> int:
    """The next power of two, 16 at least."""
    return max(16, 1 << (size - 1).bit_length())
