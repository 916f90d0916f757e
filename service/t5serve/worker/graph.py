"""T5 as static ggml graphs: the encoder for one input, the decoder for one step of many rows.

The cross-attention keys and values of every decoder layer are computed once per input, by the
encoder's graph, and kept; the decoder's graph adds its own to a cache. K and V stand side by side
in both, one line per token: (2 * inner) values of F32. Axes are written as ggml counts them,
fastest first.
"""

from __future__ import annotations

import ctypes
from ctypes import c_void_p
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from t5serve.worker import ggml, kernel
from t5serve.worker.ggml import Context, Cpu, GgmlError, Tensor
from t5serve.worker.weights import Weights

Item = TypeVar("Item", np.float32, np.int32, np.int64)

BYTES = 4  # of F32
NODES_PER_LAYER = 48


@dataclass(frozen=True)
class Caches:
    """Keys and values per decoder layer: of the rows' own tokens, and of the inputs'.

    Each tensor is (2 * inner, lines); row r has its `cells` lines from r * cells, input s its
    `span` lines from s * span.
    """

    own: list[Tensor]
    cells: int
    cross: list[Tensor]
    span: int


class Graph:
    """A graph that is built, allocated and ready to be computed as often as wanted."""

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
        self._products: list[tuple[kernel.ProductStruct, Tensor, Tensor]] = []
        """Those by our own kernels, with their inputs and outputs."""

    def compute(self) -> None:
        """Runs the graph over what its inputs hold now."""
        status = self._g.ggml_backend_graph_compute(self._cpu.backend, self._graph)
        if status != ggml.STATUS_SUCCESS:
            raise GgmlError(f"ggml_backend_graph_compute returned {status}")

    @property
    def nbytes(self) -> int:
        """Memory of the graph: its tensors' data, and what describes them."""
        return self._context.size + int(self._g.ggml_gallocr_get_buffer_size(self._allocator, 0))

    def close(self) -> None:
        """Frees the graph; views of its tensors are invalid from now on."""
        self._g.ggml_gallocr_free(self._allocator)
        self._context.close()

    def _allocate(self) -> None:
        if not self._g.ggml_gallocr_alloc_graph(self._allocator, self._graph):
            raise GgmlError("no memory for a graph")
        for product, x, y in self._products:
            product.input, product.output = (self._g.ggml_get_data(t) for t in (x, y))

    def _input(self, kind: int, *shape: int) -> Tensor:
        padded = (*shape, 1, 1, 1)[:4]
        tensor = self._g.ggml_new_tensor_4d(self._ctx, kind, *padded)
        self._g.ggml_set_input(tensor)
        self._g.ggml_set_output(tensor)  # or its memory serves others once it has been read
        return int(tensor)

    def _expand(self, tensor: Tensor) -> None:
        self._g.ggml_build_forward_expand(self._graph, tensor)

    def _view(self, tensor: Tensor, dtype: type[Item], shape: tuple[int, ...]) -> npt.NDArray[Item]:
        """The tensor's memory as an array; shape slowest axis first."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_byte * size).from_address(self._g.ggml_get_data(tensor))
        return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def _mul_mat(self, weight: str, x: Tensor) -> Tensor:
        """The matrix times each column of x, which is contiguous."""
        matrix = self._weights.matrices.get(weight)
        if matrix is not None:
            return self._multiply(matrix, x)
        return int(self._g.ggml_mul_mat(self._ctx, self._weights[weight], x))

    def _multiply(self, matrix: kernel.Matrix, x: Tensor) -> Tensor:
        """The same by our own kernel, as an operation that ggml does not know."""
        product = matrix.product()
        product.count = self._g.ggml_nbytes(x) // (matrix.columns * BYTES)
        y = int(
            self._g.ggml_custom_4d(
                self._ctx,
                ggml.F32,
                *(matrix.rows, product.count, 1, 1),
                ctypes.byref(c_void_p(x)),
                1,
                kernel.function(),
                ggml.ALL_THREADS,
                ctypes.addressof(product),
            )
        )
        self._products.append((product, x, y))
        return y

    def _norm(self, x: Tensor, weight: str) -> Tensor:
        normed = self._g.ggml_rms_norm(self._ctx, x, self._shape.epsilon)
        return int(self._g.ggml_mul(self._ctx, normed, self._weights[weight]))

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        return int(self._g.ggml_add(self._ctx, x, y))

    def _project(self, name: str, x: Tensor, parts: int) -> list[tuple[Tensor, int, int]]:
        """The products of fused or separate matrices: (tensor, bytes to the next token, offset)."""
        if name in self._weights:
            fused = self._mul_mat(name, x)
            width = self._shape.inner * BYTES
            return [(fused, parts * width, part * width) for part in range(parts)]
        return [
            (self._mul_mat(f"{name}.{part}", x), self._shape.inner * BYTES, 0)
            for part in range(parts)
        ]

    def _keep(
        self,
        cache: Tensor,
        keys: tuple[Tensor, int, int],
        values: tuple[Tensor, int, int],
        lines: Tensor,
        tokens: int,
    ) -> Tensor:
        """Writes K and V of tokens into lines of a cache; the cache as it is afterwards."""
        inner = self._shape.inner
        if keys[0] == values[0]:  # side by side already
            tensor, stride, offset = keys
            both = self._g.ggml_view_2d(self._ctx, tensor, 2 * inner, tokens, stride, offset)
            return int(self._g.ggml_set_rows(self._ctx, cache, both, lines))
        for half, (tensor, stride, offset) in enumerate((keys, values)):
            part = self._g.ggml_view_2d(self._ctx, tensor, inner, tokens, stride, offset)
            target = self._half(cache, half)
            written = self._g.ggml_set_rows(self._ctx, target, part, lines)
            self._expand(written)
        return cache

    def _half(self, cache: Tensor, half: int) -> Tensor:
        """The K or the V columns of all lines of a cache."""
        inner = self._shape.inner
        width = 2 * inner * BYTES
        lines = self._g.ggml_nbytes(cache) // width
        return int(
            self._g.ggml_view_2d(self._ctx, cache, inner, lines, width, half * inner * BYTES)
        )

    def _heads(self, part: tuple[Tensor, int, int], tokens: int, rows: int) -> Tensor:
        """(inner, tokens * rows) -> (d_kv, tokens, heads, rows)."""
        tensor, stride, offset = part
        shape = self._shape
        split = self._g.ggml_view_4d(
            self._ctx,
            tensor,
            shape.d_kv,
            shape.heads,
            tokens,
            rows,
            shape.d_kv * BYTES,
            stride,
            tokens * stride,
            offset,
        )
        return int(self._g.ggml_permute(self._ctx, split, 0, 2, 1, 3))

    def _cached(self, cache: Tensor, half: int, tokens: int, rows: int, span: int) -> Tensor:
        """K or V of a cache as (d_kv, tokens, heads, rows), rows being `span` lines apart."""
        shape = self._shape
        line = 2 * shape.inner * BYTES
        return int(
            self._g.ggml_view_4d(
                self._ctx,
                cache,
                shape.d_kv,
                tokens,
                shape.heads,
                rows,
                line,
                shape.d_kv * BYTES,
                span * line,
                half * shape.inner * BYTES,
            )
        )

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, tokens: int, rows: int
    ) -> Tensor:
        """softmax(q k + bias) v, as (inner, tokens * rows); T5 has no 1/sqrt(d_kv)."""
        scores = self._g.ggml_mul_mat(self._ctx, k, q)
        shares = self._g.ggml_soft_max_ext(self._ctx, scores, bias, 1.0, 0.0)
        # V stays as it is cached: out_prod sums over its tokens without a transposed copy.
        turned = self._g.ggml_permute(self._ctx, shares, 1, 0, 2, 3)
        mixed = self._g.ggml_out_prod(self._ctx, v, turned)
        inner = self._shape.inner
        if tokens == 1:
            return int(self._g.ggml_reshape_2d(self._ctx, mixed, inner, rows))
        merged = self._g.ggml_permute(self._ctx, mixed, 0, 2, 1, 3)
        return int(self._g.ggml_cont_2d(self._ctx, merged, inner, tokens * rows))

    def _feed_forward(self, x: Tensor, layer: str) -> Tensor:
        normed = self._norm(x, f"{layer}.ffn_norm")
        name = f"{layer}.ffn_up"
        if not self._weights.gated:
            inner = self._g.ggml_relu(self._ctx, self._mul_mat(name, normed))
        elif name in self._weights:
            inner = self._g.ggml_geglu(self._ctx, self._mul_mat(name, normed))
        else:
            gate, up = (self._mul_mat(f"{name}.{part}", normed) for part in (0, 1))
            inner = self._g.ggml_geglu_split(self._ctx, gate, up)
        return self._add(x, self._mul_mat(f"{layer}.ffn_down", inner))


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
            parts = self._project(f"{name}.attn_qkv", self._norm(x, f"{name}.attn_norm"), 3)
            q, k, v = (self._heads(part, tokens, 1) for part in parts)
            mixed = self._attend(q, k, v, biases[min(layer, tables - 1)], tokens, 1)
            x = self._add(x, self._mul_mat(f"{name}.attn_o", mixed))
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
            normed = self._norm(x, f"{name}.attn_norm")
            q, k, v = self._project(f"{name}.attn_qkv", normed, 3)
            cache = self._keep(caches.own[layer], k, v, lines, total)
            mixed = self._attend(
                self._heads(q, step.tokens, step.rows),
                self._cached(cache, 0, step.cells, step.rows, caches.cells),
                self._cached(cache, 1, step.cells, step.rows, caches.cells),
                biases[min(layer, tables - 1)],
                step.tokens,
                step.rows,
            )
            x = self._add(x, self._mul_mat(f"{name}.attn_o", mixed))
            asked = self._mul_mat(f"{name}.cross_q", self._norm(x, f"{name}.cross_norm"))
            if gather is not None:
                asked = int(self._g.ggml_get_rows(self._ctx, asked, gather))
            mixed = self._attend(
                self._heads((asked, shape.inner * BYTES, 0), queries, step.inputs),
                self._cached(caches.cross[layer], 0, step.span, step.inputs, caches.span),
                self._cached(caches.cross[layer], 1, step.span, step.inputs, caches.span),
                mask,
                queries,
                step.inputs,
            )
            if scatter is not None:
                mixed = int(self._g.ggml_get_rows(self._ctx, mixed, scatter))
            x = self._add(x, self._mul_mat(f"{name}.cross_o", mixed))
            x = self._feed_forward(x, name)
        logits = self._mul_mat("head", self._norm(x, "dec.norm"))
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
