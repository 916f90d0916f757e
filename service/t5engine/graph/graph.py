"""The base class of the ggml graphs, with the building blocks of T5's encoder and decoder.

A cache slot holds the K and V of one token side by side: 2 * d_inner values of F32. Shapes of ggml
tensors are written in ggml's order: the fastest axis first.
"""

from __future__ import annotations

import ctypes
from ctypes import c_void_p
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from t5engine.graph import ggml
from t5engine.graph.ggml import Context, Cpu, GgmlError, Tensor
from t5engine.graph.weights import Weights
from t5engine.kernels import loader

Item = TypeVar("Item", np.float32, np.int32, np.int64)

BYTES = 4  # of F32
NODES_PER_LAYER = 48


class StridedRows(NamedTuple):
    """A view of a tensor: one row of values per token.

    Attributes:
        tensor: the tensor that holds the rows.
        stride: bytes from one row to the next.
        offset: bytes before the first row.
    """

    tensor: Tensor
    stride: int = 0
    offset: int = 0


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


class Graph:
    """A graph that is built and allocated once, and computed any number of times."""

    def __init__(self, cpu: Cpu, weights: Weights, layers: int) -> None:
        nodes = NODES_PER_LAYER * layers + 64
        self._cpu = cpu
        self._g = cpu.ggml
        self._context = Context(2 * nodes, graph=nodes)
        self._ctx = self._context.address
        self._graph = self._g.ggml_new_graph_custom(self._ctx, nodes, False)  # noqa: FBT003 - C
        self._allocator = self._g.ggml_gallocr_new(cpu.buffer_type)
        self._weights = weights
        self._shape = weights.shape
        self._custom_ops: list[tuple[ctypes.Structure, dict[str, StridedRows]]] = []
        """Parameters of our own kernels, and their pointer fields, set after allocation."""

    def compute(self) -> None:
        """Runs the graph on the current values of its inputs."""
        status = self._g.ggml_backend_graph_compute(self._cpu.backend, self._graph)
        if status != ggml.STATUS_SUCCESS:
            raise GgmlError(f"ggml_backend_graph_compute returned {status}")

    @property
    def nbytes(self) -> int:
        """Bytes of the graph: the data of its tensors, and their metadata."""
        return self._context.size + int(self._g.ggml_gallocr_get_buffer_size(self._allocator, 0))

    def close(self) -> None:
        """Frees the graph. Arrays over its tensors are invalid afterwards."""
        self._g.ggml_gallocr_free(self._allocator)
        self._context.close()

    def _allocate(self) -> None:
        if not self._g.ggml_gallocr_alloc_graph(self._allocator, self._graph):
            raise GgmlError("no memory for a graph")
        for params, fields in self._custom_ops:
            for name, rows in fields.items():
                setattr(params, name, self._g.ggml_get_data(rows.tensor) + rows.offset)

    def _add_input(self, tensor_type: int, *shape: int) -> Tensor:
        shape_4d = (*shape, 1, 1, 1)[:4]
        tensor = self._g.ggml_new_tensor_4d(self._ctx, tensor_type, *shape_4d)
        self._g.ggml_set_input(tensor)
        # Otherwise the allocator reuses the input's memory once the input has been read.
        self._g.ggml_set_output(tensor)
        return int(tensor)

    def _expand(self, tensor: Tensor) -> None:
        self._g.ggml_build_forward_expand(self._graph, tensor)

    def _view_array(
        self, tensor: Tensor, dtype: type[Item], shape: tuple[int, ...]
    ) -> npt.NDArray[Item]:
        """Returns the tensor's memory as an array; `shape` in numpy's order, slowest axis first."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_byte * size).from_address(self._g.ggml_get_data(tensor))
        return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def _mul_mat(
        self,
        weight: str,
        x: Tensor,
        *,
        norm: str | None = None,
        relu: bool = False,
        residual: Tensor | None = None,
    ) -> Tensor:
        """Returns matrix * act(norm(x)) + residual, (rows, count).

        Args:
            weight: name of the matrix.
            x: (columns, count), contiguous.
            norm: name of the norm's weight; None: no norm.
            relu: whether act is ReLU; else it is the identity.
            residual: (rows, count), contiguous; None: nothing is added.
        """
        matrix = self._weights.matrices.get(weight)
        if matrix is not None:
            return self._multiply(matrix, x, norm, relu=relu, residual=residual)
        if norm is not None:
            x = self._norm(x, norm)
        if relu:
            x = int(self._g.ggml_relu(self._ctx, x))
        y = int(self._g.ggml_mul_mat(self._ctx, self._weights[weight], x))
        return y if residual is None else int(self._g.ggml_add(self._ctx, residual, y))

    def _multiply(
        self,
        matrix: loader.Matrix,
        x: Tensor,
        norm: str | None,
        *,
        relu: bool,
        residual: Tensor | None,
    ) -> Tensor:
        """Does the work of `_mul_mat` with our own kernel, as one operation."""
        product = matrix.new_product()
        product.count = self._g.ggml_nbytes(x) // (matrix.columns * BYTES)
        product.norm = None if norm is None else self._g.ggml_get_data(self._weights[norm])
        product.epsilon = self._shape.epsilon
        product.relu = relu
        fields = {"input": StridedRows(x)}
        if residual is not None:
            fields["residual"] = StridedRows(residual)
        shape = (matrix.rows, product.count)
        return self._add_custom_op(loader.load_multiply_op(), product, fields, shape)

    def _add_custom_op(
        self,
        function: c_void_p,
        params: ctypes.Structure,
        fields: dict[str, StridedRows],
        shape: tuple[int, int],
    ) -> Tensor:
        """Adds an operation that ggml does not have.

        Args:
            function: a ggml_custom_op_t.
            params: its parameters. Pointers, "output" included, are set after allocation.
            fields: the tensors that the operation reads, by the field that points to them.
            shape: of the output.
        """
        sources = [rows.tensor for rows in fields.values()]
        y = self._g.ggml_custom_4d(
            self._ctx,
            ggml.F32,
            *(*shape, 1, 1),
            (c_void_p * len(sources))(*sources),
            len(sources),
            function,
            ggml.ALL_THREADS,
            ctypes.addressof(params),
        )
        self._custom_ops.append((params, fields | {"output": StridedRows(int(y))}))
        return int(y)

    def _norm(self, x: Tensor, weight: str) -> Tensor:
        normed = self._g.ggml_rms_norm(self._ctx, x, self._shape.epsilon)
        return int(self._g.ggml_mul(self._ctx, normed, self._weights[weight]))

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
        if self._weights.own_kernels and loader.can_attend(self._shape.d_kv, sizes.keys):
            return self._attend_fused(q, k, v, bias, sizes)
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
        self, q: StridedRows, k: StridedRows, v: StridedRows, bias: Tensor, sizes: AttentionShape
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
            bias_head_stride=head_scores if sizes.bias_per_head else 0,
            bias_row_stride=head_scores * (shape.heads if sizes.bias_per_head else 1),
        )
        fields = {"q": q, "k": k, "v": v, "bias": StridedRows(bias)}
        output_shape = (shape.d_inner, sizes.queries * sizes.rows)
        return self._add_custom_op(loader.load_attention_op(), params, fields, output_shape)

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
