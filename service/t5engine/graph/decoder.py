"""T5's decoder as a ggml graph, for one step of many rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from t5engine.graph import ggml
from t5engine.graph.caches import Caches
from t5engine.graph.ggml import Cpu
from t5engine.graph.graph import BYTES, Attended, Graph, Lines
from t5engine.graph.weights import Weights


@dataclass(frozen=True)
class StepShape:
    """What a decoder graph is built for.

    Attributes:
        rows: sequences, the first ones of the cache.
        tokens: per row.
        cells: of the rows' own cache that are attended to.
        span: tokens of the inputs that are attended to.
        inputs: that are attended to, the first ones of the cross cache.
        group: rows per input; 0 if row and input have the same number, one each.
    """

    rows: int
    tokens: int
    cells: int
    span: int
    inputs: int
    group: int


class DecoderGraph(Graph):
    """One step of the decoder.

    Attributes:
        ids: I32 (rows, tokens).
        bias: per table, F32 (rows, heads, tokens, cells); -inf where a token may not look.
        mask: F32 (inputs, queries, span); 0, or -inf past an input's end.
        lines: I64 (rows, tokens), where in the own cache the tokens' K and V go.
        groups: None, or I32 (inputs, queries), which of the rows' tokens ask each input, and
            I32 (rows, tokens), where among those each one is.
        company: which rows asked which inputs when mask and groups were filled last.
        logits: F32 (rows, tokens, n_vocab).
    """

    def __init__(
        self, cpu: Cpu, weights: Weights, caches: Caches, step: StepShape, tables: int
    ) -> None:
        shape = weights.shape
        super().__init__(cpu, weights, shape.decoder_layers)
        total = step.rows * step.tokens
        queries = (step.group or 1) * step.tokens
        ids = self._input(ggml.I32, total)
        biases = [
            self._input(ggml.F32, step.cells, step.tokens, shape.heads, step.rows)
            for _ in range(tables)
        ]
        mask = self._input(ggml.F32, step.span, queries, 1, step.inputs)
        lines = self._input(ggml.I64, total)
        gather = self._input(ggml.I32, step.inputs * queries) if step.group else None
        scatter = self._input(ggml.I32, total) if step.group else None
        x = int(self._g.ggml_get_rows(self._ctx, weights["embedding"], ids))
        for layer in range(shape.decoder_layers):
            name = f"dec.{layer}"
            q, k, v = self._project(f"{name}.attn_qkv", x, 3, norm=f"{name}.attn_norm")
            cache = self._keep(caches.own[layer], k, v, lines, total)
            mixed = self._attend(
                q,
                *self._halves(cache),
                biases[min(layer, tables - 1)],
                Attended(step.tokens, step.cells, step.rows, caches.cells),
                biased_heads=True,
            )
            x = self._mul_mat(f"{name}.attn_o", mixed, plus=x)
            asked = self._mul_mat(f"{name}.cross_q", x, norm=f"{name}.cross_norm")
            if gather is not None:
                asked = int(self._g.ggml_get_rows(self._ctx, asked, gather))
            mixed = self._attend(
                Lines(asked, shape.inner * BYTES),
                *self._halves(caches.cross[layer]),
                mask,
                Attended(queries, step.span, step.inputs, caches.span),
                biased_heads=False,
            )
            if scatter is not None:
                mixed = int(self._g.ggml_get_rows(self._ctx, mixed, scatter))
            x = self._mul_mat(f"{name}.cross_o", mixed, plus=x)
            x = self._feed_forward(x, name)
        logits = self._mul_mat("head", x, norm="dec.norm")
        self._g.ggml_set_output(logits)
        self._expand(logits)
        self._allocate()
        rows = (step.rows, step.tokens)
        self.ids = self._view(ids, np.int32, rows)
        self.bias = [
            self._view(bias, np.float32, (step.rows, shape.heads, step.tokens, step.cells))
            for bias in biases
        ]
        self.mask = self._view(mask, np.float32, (step.inputs, queries, step.span))
        self.lines = self._view(lines, np.int64, rows)
        self.groups = None
        if gather is not None and scatter is not None:
            self.groups = (
                self._view(gather, np.int32, (step.inputs, queries)),
                self._view(scatter, np.int32, rows),
            )
        self.logits = self._view(logits, np.float32, (*rows, shape.rows))
        self.company: object = None
        self.ids[:] = 0
        for table in self.bias:
            table[:] = -np.inf
            table[..., 0] = 0
