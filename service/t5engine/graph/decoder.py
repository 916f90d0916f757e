"""T5's decoder as a ggml graph, for one step of many rows."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import c_void_p
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from t5engine.graph import ggml
from t5engine.graph.caches import Caches
from t5engine.graph.ggml import Cpu
from t5engine.graph.graph import BYTES, StridedRows
from t5engine.graph.t5_graph import AttentionShape, T5Graph
from t5engine.graph.weights import Weights
from t5engine.kernels.loader import GreedyStepStruct

BatchKey = tuple[tuple[int, int, tuple[int, ...]], ...]
"""Per input of a batch: its index, its length in tokens, and the rows that decode over it."""


@dataclass(frozen=True)
class StepShape:
    """The sizes that a decoder graph is built for.

    Attributes:
        rows: sequences; they have the first rows of the self-attention cache.
        tokens: decoder inputs per row.
        self_keys: slots of a row's self-attention cache that its tokens attend to.
        cross_keys: slots of an input's cross-attention cache that the rows attend to.
        inputs: encoder inputs; they have the first places of the cross-attention cache.
        group_size: most rows per input; 0 if every row has its own input, with the row's index.
        has_states: whether rows attend to the encoder's states instead of K and V.
    """

    rows: int
    tokens: int
    self_keys: int
    cross_keys: int
    inputs: int
    group_size: int
    has_states: bool = False


class DecoderGraph(T5Graph):
    """One step of the decoder.

    Attributes:
        ids: I32 (rows, tokens).
        bias: F32 (rows, heads, tokens, self_keys) per bias table; -inf masks a key.
        mask: F32 (inputs, queries, cross_keys); 0, or -inf past an input's end.
        slots: I64 (rows, tokens), the slots of the self-attention cache for the tokens' K and V.
        grouping: None if group_size is 0, else two arrays. The first, I32 (inputs, queries), has
            the indices of the tokens that attend to each input. The second, I32 (rows, tokens),
            has the index of each token among those queries.
        batch_key: the batch for which mask and grouping were filled last.
        logits: F32 (rows, tokens, n_vocab).
    """

    def __init__(
        self, cpu: Cpu, weights: Weights, caches: Caches, step: StepShape, bias_tables: int
    ) -> None:
        shape = weights.shape
        super().__init__(cpu, weights, shape.decoder_layers, ("decoder", step.rows, step.tokens))
        total = step.rows * step.tokens
        queries = (step.group_size or 1) * step.tokens
        ids = self._add_input(ggml.I32, total)
        biases = [
            self._add_input(ggml.F32, step.self_keys, step.tokens, shape.heads, step.rows)
            for _ in range(bias_tables)
        ]
        mask = self._add_input(ggml.F32, step.cross_keys, queries, 1, step.inputs)
        slots = self._add_input(ggml.I64, total)
        gather = self._add_input(ggml.I32, step.inputs * queries) if step.group_size else None
        scatter = self._add_input(ggml.I32, total) if step.group_size else None
        self_sizes = AttentionShape(
            step.tokens, step.self_keys, step.rows, caches.row_slots, bias_per_head=True
        )
        cross_sizes = AttentionShape(queries, step.cross_keys, step.inputs, caches.input_slots)
        x = int(self._g.ggml_get_rows(self._ctx, weights["embedding"], ids))
        for layer in range(shape.decoder_layers):
            name = f"dec.{layer}"
            q, k, v = self._project(f"{name}.attn_qkv", x, 3, norm=f"{name}.attn_norm")
            cache = self._store_kv(caches.self_kv[layer], k, v, slots, total)
            bias = biases[min(layer, bias_tables - 1)]
            attention_output = self._attend(q, *self._split_kv(cache), bias, self_sizes)
            x = self._mul_mat(f"{name}.attn_o", attention_output, residual=x)
            cross_q = self._mul_mat(f"{name}.cross_q", x, norm=f"{name}.cross_norm")
            if gather is not None:
                cross_q = int(self._g.ggml_get_rows(self._ctx, cross_q, gather))
            if step.has_states:
                attention_output = self._attend_states(
                    layer, cross_q, caches.states, mask, cross_sizes
                )
            else:
                attention_output = self._attend(
                    StridedRows(cross_q, shape.d_inner * BYTES),
                    *self._split_kv(caches.cross_kv[layer]),
                    mask,
                    cross_sizes,
                )
            if scatter is not None:
                attention_output = int(self._g.ggml_get_rows(self._ctx, attention_output, scatter))
            x = self._mul_mat(f"{name}.cross_o", attention_output, residual=x)
            x = self._feed_forward(x, name)
        logits = self._mul_mat("head", x, norm="dec.norm")
        self._g.ggml_set_output(logits)
        self._expand(logits)
        self._allocate()
        tokens_shape = (step.rows, step.tokens)
        bias_shape = (step.rows, shape.heads, step.tokens, step.self_keys)
        self.ids = self._view_array(ids, np.int32, tokens_shape)
        self.bias = [self._view_array(bias, np.float32, bias_shape) for bias in biases]
        self.mask = self._view_array(mask, np.float32, (step.inputs, queries, step.cross_keys))
        self.slots = self._view_array(slots, np.int64, tokens_shape)
        self.grouping = None
        if gather is not None and scatter is not None:
            self.grouping = (
                self._view_array(gather, np.int32, (step.inputs, queries)),
                self._view_array(scatter, np.int32, tokens_shape),
            )
        self.logits = self._view_array(logits, np.float32, (*tokens_shape, shape.vocab_rows))
        self.batch_key: BatchKey | None = None
        self.ids[:] = 0
        for bias_array in self.bias:
            bias_array[:] = -np.inf
            bias_array[..., 0] = 0

    def fill_mask(
        self, rows_by_input: Mapping[int, Sequence[int]], lengths: Mapping[int, int], count: int
    ) -> None:
        """Sets which row attends to which input, unless the last batch was the same.

        Args:
            rows_by_input: the rows that attend to each input, by its index.
            lengths: tokens of each input, by its index.
            count: tokens per row.
        """
        batch_key: BatchKey = tuple(
            (index, lengths[index], tuple(rows)) for index, rows in rows_by_input.items()
        )
        if self.batch_key == batch_key:
            return
        self.mask[:] = -np.inf
        self.mask[:, :, 0] = 0  # also of unused inputs: softmax over no key at all is NaN
        for index in rows_by_input:
            self.mask[index, :, : lengths[index]] = 0
        if self.grouping is not None:
            _fill_grouping(*self.grouping, rows_by_input, count)
        self.batch_key = batch_key

    @cached_property
    def greedy_step(self) -> GreedyStepStruct:
        """What greedy.c needs to know of a graph of one row; threads and limits are set later."""
        self._bias_addresses = (c_void_p * len(self.bias))(
            *(bias.ctypes.data for bias in self.bias)
        )
        _, tokens, vocab_rows = self.logits.shape
        return GreedyStepStruct(
            graph=self.address,
            ids=self.ids.ctypes.data,
            slots=self.slots.ctypes.data,
            biases=ctypes.addressof(self._bias_addresses),
            logits=self.logits.ctypes.data,
            tokens=tokens,
            self_keys=self.bias[0].shape[-1],
            vocab_rows=vocab_rows,
        )


def _fill_grouping(
    gather: npt.NDArray[np.int32],
    scatter: npt.NDArray[np.int32],
    rows_by_input: Mapping[int, Sequence[int]],
    count: int,
) -> None:
    """Fills the indices that order the rows' tokens by input, and those that restore the order."""
    gather[:] = 0
    scatter[:] = 0
    tokens = np.arange(count)
    for index, rows in rows_by_input.items():
        for position, row in enumerate(rows):
            start = position * count
            gather[index, start : start + count] = row * count + tokens
            scatter[row] = index * gather.shape[1] + start + tokens
