"""T5's encoder as a ggml graph, for one input.

The graph ends with the cross-attention K and V of every decoder layer, which are stored in the
cross-attention cache once per input.
"""

from __future__ import annotations

import numpy as np

from t5engine.graph import ggml
from t5engine.graph.caches import Caches
from t5engine.graph.ggml import Cpu
from t5engine.graph.t5_graph import AttentionShape, T5Graph
from t5engine.graph.weights import Weights


class EncoderGraph(T5Graph):
    """Encodes one input of up to `tokens` tokens, and stores its cross-attention K and V.

    Attributes:
        ids: I32 (tokens,).
        bias: F32 (heads, queries, keys) per bias table; -inf at the keys of padding.
        slots: I64 (tokens,), the slots of the cross-attention cache for the tokens' K and V.
    """

    def __init__(
        self, cpu: Cpu, weights: Weights, caches: Caches, tokens: int, bias_tables: int
    ) -> None:
        shape = weights.shape
        layers = shape.encoder_layers + shape.decoder_layers
        super().__init__(cpu, weights, layers, ("encoder", tokens))
        ids = self._add_input(ggml.I32, tokens)
        biases = [
            self._add_input(ggml.F32, tokens, tokens, shape.heads) for _ in range(bias_tables)
        ]
        slots = self._add_input(ggml.I64, tokens)
        sizes = AttentionShape(tokens, tokens, bias_per_head=True)
        x = int(self._g.ggml_get_rows(self._ctx, weights["embedding"], ids))
        for layer in range(shape.encoder_layers):
            name = f"enc.{layer}"
            q, k, v = self._project(f"{name}.attn_qkv", x, 3, norm=f"{name}.attn_norm")
            bias = biases[min(layer, bias_tables - 1)]
            attention_output = self._attend(q, k, v, bias, sizes)
            x = self._mul_mat(f"{name}.attn_o", attention_output, residual=x)
            x = self._feed_forward(x, name)
        x = self._norm(x, "enc.norm")
        for layer in range(shape.decoder_layers):
            keys, values = self._project(f"dec.{layer}.cross_kv", x, 2)
            self._expand(self._store_kv(caches.cross_kv[layer], keys, values, slots, tokens))
        self._allocate()
        self.ids = self._view_array(ids, np.int32, (tokens,))
        bias_shape = (shape.heads, tokens, tokens)
        self.bias = [self._view_array(bias, np.float32, bias_shape) for bias in biases]
        self.slots = self._view_array(slots, np.int64, (tokens,))
