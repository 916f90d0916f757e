"""T5's encoder as a ggml graph, for one input.

The graph ends with the cross-attention K and V of every decoder layer, which are stored in the
cross-attention cache once per input. An input of a single step stores the encoder's states instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from t5engine.backend import F32
from t5engine.graph import ggml
from t5engine.graph.caches import Caches
from t5engine.graph.ggml import Cpu
from t5engine.graph.t5_graph import AttentionShape, T5Graph
from t5engine.graph.weights import Weights
from t5engine.kernels.loader import ProductStruct

KEYS_AT_ONCE = 4  # a multiple of so many keys is what our own attention takes


class EncoderGraph(T5Graph):
    """Encodes one input of up to `tokens` tokens, and stores its cross-attention K and V.

    With `keeps_states` the states themselves are stored.

    Args:
        distance_bias: (heads, 2 * distances - 1) per bias table, by the distance from a query to a
            key; the middle one is distance 0.

    Attributes:
        ids: I32 (tokens,).
        slots: I64 (tokens,), the slots of the cross-attention cache for the tokens' K and V.
    """

    def __init__(
        self,
        cpu: Cpu,
        weights: Weights,
        caches: Caches,
        tokens: int,
        distance_bias: Sequence[F32],
        *,
        keeps_states: bool = False,
    ) -> None:
        shape = weights.shape
        layers = shape.encoder_layers + shape.decoder_layers
        super().__init__(cpu, weights, layers, ("encoder", tokens))
        ids = self._add_input(ggml.I32, tokens)
        biases = [self._add_input(ggml.F32, tokens, tokens, shape.heads) for _ in distance_bias]
        slots = self._add_input(ggml.I64, tokens)
        sizes = AttentionShape(tokens, tokens, bias_per_head=True)
        x = int(self._g.ggml_get_rows(self._ctx, weights["embedding"], ids))
        for layer in range(shape.encoder_layers):
            name = f"enc.{layer}"
            q, k, v = self._project(f"{name}.attn_qkv", x, 3, norm=f"{name}.attn_norm")
            bias = biases[min(layer, len(biases) - 1)]
            attention_output = self._attend(q, k, v, bias, sizes)
            x = self._mul_mat(f"{name}.attn_o", attention_output, residual=x)
            x = self._feed_forward(x, name)
        x = self._norm(x, "enc.norm")
        if keeps_states:
            self._expand(self._g.ggml_set_rows(self._ctx, caches.states, x, slots))
        for layer in range(0 if keeps_states else shape.decoder_layers):
            keys, values = self._project(f"dec.{layer}.cross_kv", x, 2)
            self._expand(self._store_kv(caches.cross_kv[layer], keys, values, slots, tokens))
        self._allocate()
        self.ids = self._view_array(ids, np.int32, (tokens,))
        bias_shape = (shape.heads * tokens * tokens,)
        self._bias = [self._view_array(bias, np.float32, bias_shape) for bias in biases]
        self._distance_bias = distance_bias
        self.slots = self._view_array(slots, np.int64, (tokens,))
        self._tokens = tokens
        longest = max(tokens, caches.input_slots)  # the decoder reads what is computed here
        self._has_own_attention = weights.kernels is not None and weights.kernels.can_attend(
            shape.d_kv, longest
        )
        self._counts = (0, 0)
        """Tokens of the last input, and how many were computed for it."""

    def set_length(self, count: int) -> None:
        """Prepares the graph for an input of so many tokens; what follows them is padding.

        Our own kernels compute no more padding than they must. What ggml's operations compute of
        the other padding is read by nobody.
        """
        computed = self._tokens
        if self._has_own_attention:
            computed = min(computed, -(-count // KEYS_AT_ONCE) * KEYS_AT_ONCE)
        if self._counts == (count, computed):
            return
        self._counts = (count, computed)
        for params, _ in self._custom_ops:
            if isinstance(params, ProductStruct):
                params.count = computed
            else:
                params.queries = params.keys = computed
                params.bias_head_stride = computed**2
        for memory, by_distance in zip(self._bias, self._distance_bias, strict=True):
            bias = memory[: len(by_distance) * computed**2].reshape(-1, computed, computed)
            bias[:] = _spread(by_distance, computed)
            bias[:, :, count:] = -np.inf


def _spread(by_distance: F32, tokens: int) -> F32:
    """Returns a view (heads, queries, keys) of a bias that depends on key - query."""
    head_stride, stride = by_distance.strides
    middle = by_distance.shape[1] // 2
    strides = (head_stride, -stride, stride)
    shape = (len(by_distance), tokens, tokens)
    return as_strided(by_distance[:, middle:], shape, strides, writeable=False)
