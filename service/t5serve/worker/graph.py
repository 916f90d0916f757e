"""A static ggml graph, and what T5's encoder and decoder are built of.

Keys and values stand side by side, one line per token: (2 * inner) values of F32. Axes are written
as ggml counts them, fastest first.
"""

from __future__ import annotations

import ctypes
from ctypes import c_void_p
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from t5serve.worker import ggml, kernel
from t5serve.worker.ggml import Context, Cpu, GgmlError, Tensor
from t5serve.worker.weights import Weights

Item = TypeVar("Item", np.float32, np.int32, np.int64)

BYTES = 4  # of F32
NODES_PER_LAYER = 48


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
        self._products: list[tuple[kernel.ProductStruct, Tensor, Tensor, Tensor | None]] = []
        """Those by our own kernels, with their inputs, outputs and what is added."""

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
        for product, x, y, plus in self._products:
            product.input, product.output = (self._g.ggml_get_data(t) for t in (x, y))
            product.residual = None if plus is None else self._g.ggml_get_data(plus)

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

    def _mul_mat(
        self,
        weight: str,
        x: Tensor,
        *,
        norm: str | None = None,
        relu: bool = False,
        plus: Tensor | None = None,
    ) -> Tensor:
        """The matrix times each column of x, which is contiguous.

        Args:
            weight: name of the matrix.
            x: (columns, count).
            norm: name of the norm that x goes through before.
            relu: whether x goes through a ReLU before.
            plus: what is added, (rows, count), contiguous.
        """
        matrix = self._weights.matrices.get(weight)
        if matrix is not None:
            return self._multiply(matrix, x, norm, relu=relu, plus=plus)
        if norm is not None:
            x = self._norm(x, norm)
        if relu:
            x = int(self._g.ggml_relu(self._ctx, x))
        y = int(self._g.ggml_mul_mat(self._ctx, self._weights[weight], x))
        return y if plus is None else int(self._g.ggml_add(self._ctx, plus, y))

    def _multiply(
        self, matrix: kernel.Matrix, x: Tensor, norm: str | None, *, relu: bool, plus: Tensor | None
    ) -> Tensor:
        """The same by our own kernel, all at once, as an operation that ggml does not know."""
        product = matrix.product()
        product.count = self._g.ggml_nbytes(x) // (matrix.columns * BYTES)
        product.norm = None if norm is None else self._g.ggml_get_data(self._weights[norm])
        product.epsilon = self._shape.epsilon
        product.rectified = relu
        sources = [x] if plus is None else [x, plus]
        y = int(
            self._g.ggml_custom_4d(
                self._ctx,
                ggml.F32,
                *(matrix.rows, product.count, 1, 1),
                (c_void_p * len(sources))(*sources),
                len(sources),
                kernel.function(),
                ggml.ALL_THREADS,
                ctypes.addressof(product),
            )
        )
        self._products.append((product, x, y, plus))
        return y

    def _norm(self, x: Tensor, weight: str) -> Tensor:
        normed = self._g.ggml_rms_norm(self._ctx, x, self._shape.epsilon)
        return int(self._g.ggml_mul(self._ctx, normed, self._weights[weight]))

    def _project(
        self, name: str, x: Tensor, parts: int, norm: str | None = None
    ) -> list[tuple[Tensor, int, int]]:
        """The products of fused or separate matrices: (tensor, bytes to the next token, offset)."""
        if name in self._weights:
            fused = self._mul_mat(name, x, norm=norm)
            width = self._shape.inner * BYTES
            return [(fused, parts * width, part * width) for part in range(parts)]
        return [
            (self._mul_mat(f"{name}.{part}", x, norm=norm), self._shape.inner * BYTES, 0)
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
        up, down, norm = (f"{layer}.{part}" for part in ("ffn_up", "ffn_down", "ffn_norm"))
        if not self._weights.gated:
            return self._mul_mat(down, self._mul_mat(up, x, norm=norm), relu=True, plus=x)
        if up in self._weights:
            inner = self._g.ggml_geglu(self._ctx, self._mul_mat(up, x, norm=norm))
        else:
            gate, value = (self._mul_mat(f"{up}.{part}", x, norm=norm) for part in (0, 1))
            inner = self._g.ggml_geglu_split(self._ctx, gate, value)
        return self._mul_mat(down, int(inner), plus=x)
