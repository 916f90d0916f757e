"""The building blocks of T5's encoder and decoder: projections, attention, feed-forward.

A cache slot holds the K and V of one token side by side: 2 * d_inner values of F32. Shapes of ggml
tensors are written in ggml's order: the fastest axis first.
"""

from __future__ import annotations

from typing import NamedTuple

from t5engine.graph.ggml import Tensor
from t5engine.graph.graph import BYTES, Graph, StridedRows
from t5engine.kernels import loader


class AttentionShape(NamedTuple):
    """The sizes of an attention.

    Attributes:
        queries: queries per row.
        keys: keys per row.
        rows: sequences, or encoder inputs.
        row_slots: cache slots from the first key of a row to the first key of the next row.
        bias_per_head: whether each head has its own bias.
    """

    queries: int
    keys: int
    rows: int = 1
    row_slots: int = 0
    bias_per_head: bool = False


class T5Graph(Graph):
    """A graph with T5's blocks."""

    def _project(
        self, name: str, x: Tensor, parts: int, norm: str | None = None
    ) -> list[StridedRows]:
        """Multiplies x by several matrices, which are stored fused or separately."""
        if name in self._weights:
            fused = self._mul_mat(name, x, norm=norm)
            width = self._shape.d_inner * BYTES
            return [StridedRows(fused, parts * width, part * width) for part in range(parts)]
        return [
            StridedRows(self._mul_mat(f"{name}.{part}", x, norm=norm), self._shape.d_inner * BYTES)
            for part in range(parts)
        ]

    def _store_kv(
        self, cache: Tensor, keys: StridedRows, values: StridedRows, slots: Tensor, tokens: int
    ) -> Tensor:
        """Writes the K and V of tokens into cache slots. Returns the cache after the write."""
        d_inner = self._shape.d_inner
        if keys.tensor == values.tensor:  # the projection was fused: K and V are side by side
            kv = self._g.ggml_view_2d(
                self._ctx, keys.tensor, 2 * d_inner, tokens, keys.stride, keys.offset
            )
            return int(self._g.ggml_set_rows(self._ctx, cache, kv, slots))
        for target, source in zip(self._split_kv(cache), (keys, values), strict=True):
            source_view = self._g.ggml_view_2d(
                self._ctx, source.tensor, d_inner, tokens, source.stride, source.offset
            )
            count = self._g.ggml_nbytes(cache) // target.stride
            target_view = self._g.ggml_view_2d(
                self._ctx, cache, d_inner, count, target.stride, target.offset
            )
            self._expand(self._g.ggml_set_rows(self._ctx, target_view, source_view, slots))
        return cache

    def _split_kv(self, cache: Tensor) -> tuple[StridedRows, StridedRows]:
        """Returns the K and the V of a cache."""
        width = self._shape.d_inner * BYTES
        return StridedRows(cache, 2 * width), StridedRows(cache, 2 * width, width)

    def _attend(
        self, q: StridedRows, k: StridedRows, v: StridedRows, bias: Tensor, sizes: AttentionShape
    ) -> Tensor:
        """Returns softmax(q k + bias) v, (d_inner, queries * rows). T5 has no 1/sqrt(d_kv).

        Args:
            q: one row per query; the queries of a sequence are consecutive.
            k: one row per key.
            v: one row per key, with the stride of k.
            bias: (keys, queries, heads or 1, rows); -inf masks a key from a query.
            sizes: numbers of queries, keys and rows.
        """
        kernels = self._weights.kernels
        if kernels is not None and kernels.can_attend(self._shape.d_kv, sizes.keys):
            return self._attend_fused(kernels, q, k, v, bias, sizes)
        scores = self._g.ggml_mul_mat(
            self._ctx,
            self._view_heads(k, sizes.keys, sizes.rows, sizes.row_slots),
            self._view_heads(q, sizes.queries, sizes.rows, sizes.queries),
        )
        probabilities = self._g.ggml_soft_max_ext(self._ctx, scores, bias, 1.0, 0.0)
        # V keeps its layout: out_prod sums over the tokens without a transposed copy.
        transposed = self._g.ggml_permute(self._ctx, probabilities, 1, 0, 2, 3)
        values = self._view_heads(v, sizes.keys, sizes.rows, sizes.row_slots)
        attention_output = self._g.ggml_out_prod(self._ctx, values, transposed)
        d_inner = self._shape.d_inner
        if sizes.queries == 1:
            merged = self._g.ggml_reshape_2d(self._ctx, attention_output, d_inner, sizes.rows)
            return int(merged)
        merged = self._g.ggml_permute(self._ctx, attention_output, 0, 2, 1, 3)
        tokens = sizes.queries * sizes.rows
        return int(self._g.ggml_cont_2d(self._ctx, merged, d_inner, tokens))

    def _attend_fused(
        self,
        kernels: loader.Kernels,
        q: StridedRows,
        k: StridedRows,
        v: StridedRows,
        bias: Tensor,
        sizes: AttentionShape,
    ) -> Tensor:
        """Does the work of `_attend` with our own kernel, as one operation."""
        shape = self._shape
        head_scores = sizes.queries * sizes.keys
        params = loader.AttentionStruct(
            d_kv=shape.d_kv,
            heads=shape.heads,
            queries=sizes.queries,
            keys=sizes.keys,
            rows=sizes.rows,
            q_stride=q.stride // BYTES,
            kv_stride=k.stride // BYTES,
            kv_row_stride=sizes.row_slots * k.stride // BYTES,
            kv_head_stride=shape.d_kv,
            bias_head_stride=head_scores if sizes.bias_per_head else 0,
            bias_row_stride=head_scores * (shape.heads if sizes.bias_per_head else 1),
        )
        fields = {"q": q, "k": k, "v": v, "bias": StridedRows(bias)}
        output_shape = (shape.d_inner, sizes.queries * sizes.rows)
        return self._add_custom_op(kernels.attention_op, params, fields, output_shape)

    def _attend_states(
        self, layer: int, q: Tensor, states: Tensor, mask: Tensor, sizes: AttentionShape
    ) -> Tensor:
        """Returns the cross-attention over the encoder's states, (d_inner, queries * rows).

        Without K and V of the tokens: q (K x) = (q K) x, and the sum of p (V x) is V times the sum
        of p x. So every head attends to the states themselves, with q K instead of q.
        """
        kernels, matrices = self._weights.kernels, self._weights.state_matrices[layer]
        shape, d_model = self._shape, self._shape.d_model
        assert kernels is not None  # noqa: S101
        queries = self._multiply(matrices.k_by_columns, q, parts=shape.heads)
        params = loader.AttentionStruct(
            d_kv=d_model,
            heads=shape.heads,
            queries=sizes.queries,
            keys=sizes.keys,
            rows=sizes.rows,
            q_stride=shape.heads * d_model,
            kv_stride=d_model,
            kv_row_stride=sizes.row_slots * d_model,
            kv_head_stride=0,
            bias_head_stride=0,
            bias_row_stride=sizes.queries * sizes.keys,
        )
        rows = StridedRows(states)
        fields = {"q": StridedRows(queries), "k": rows, "v": rows, "bias": StridedRows(mask)}
        output_shape = (shape.heads * d_model, sizes.queries * sizes.rows)
        mean_states = self._add_custom_op(kernels.attention_op, params, fields, output_shape)
        return self._multiply(matrices.v, mean_states, parts=shape.heads)

    def _view_heads(self, rows: StridedRows, tokens: int, sequences: int, row_slots: int) -> Tensor:
        """Returns a view (d_kv, tokens, heads, sequences); sequences are `row_slots` rows apart."""
        shape = self._shape
        return int(
            self._g.ggml_view_4d(
                self._ctx,
                rows.tensor,
                *(shape.d_kv, tokens, shape.heads, sequences),
                *(rows.stride, shape.d_kv * BYTES, row_slots * rows.stride),
                rows.offset,
            )
        )

    def _feed_forward(self, x: Tensor, layer: str) -> Tensor:
        up, down, norm = (f"{layer}.{part}" for part in ("ffn_up", "ffn_down", "ffn_norm"))
        if not self._weights.is_gated:
            return self._mul_mat(down, self._mul_mat(up, x, norm=norm), relu=True, residual=x)
        if up in self._weights:
            inner = self._g.ggml_geglu(self._ctx, self._mul_mat(up, x, norm=norm))
        else:
            gate, value = (self._mul_mat(f"{up}.{part}", x, norm=norm) for part in (0, 1))
            inner = self._g.ggml_geglu_split(self._ctx, gate, value)
        return self._mul_mat(down, int(inner), residual=x)
