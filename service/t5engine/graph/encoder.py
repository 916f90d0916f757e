"""T5's encoder as a ggml graph, for one input.

The cross-attention keys and values of every decoder layer are computed at its end, once per input,
and kept.
"""

from __future__ import annotations

import numpy as np

from t5engine.graph import ggml
from t5engine.graph.caches import Caches
from t5engine.graph.ggml import Cpu
from t5engine.graph.graph import Attended, Graph
from t5engine.graph.weights import Weights


class EncoderGraph(Graph):
    """Encodes one input of up to `tokens` tokens, and keeps its cross-attention K and V.

    Attributes:
        ids: I32 (tokens,).
        bias: per table, F32 (heads, queries, keys); -inf at the keys of padding.
        lines: I64 (tokens,), where in the cross cache the tokens' K and V go.
    """

    def __init__(
        self, cpu: Cpu, weights: Weights, caches: Caches, tokens: int, tables: int
    ) -> None:
        shape = weights.shape
        super().__init__(cpu, weights, shape.encoder_layers + shape.decoder_layers)
        ids = self._input(ggml.I32, tokens)
        biases = [self._input(ggml.F32, tokens, tokens, shape.heads) for _ in range(tables)]
        lines = self._input(ggml.I64, tokens)
        x = int(self._g.ggml_get_rows(self._ctx, weights["embedding"], ids))
        for layer in range(shape.encoder_layers):
            name = f"enc.{layer}"
            q, k, v = self._project(f"{name}.attn_qkv", x, 3, norm=f"{name}.attn_norm")
            bias = biases[min(layer, tables - 1)]
            mixed = self._attend(q, k, v, bias, Attended(tokens, tokens), biased_heads=True)
            x = self._mul_mat(f"{name}.attn_o", mixed, plus=x)
            x = self._feed_forward(x, name)
        x = self._norm(x, "enc.norm")
        for layer in range(shape.decoder_layers):
            keys, values = self._project(f"dec.{layer}.cross_kv", x, 2)
            self._expand(self._keep(caches.cross[layer], keys, values, lines, tokens))
        self._allocate()
        self.ids = self._view(ids, np.int32, (tokens,))
        square = (shape.heads, tokens, tokens)
        self.bias = [self._view(bias, np.float32, square) for bias in biases]
        self.lines = self._view(lines, np.int64, (tokens,))
