"""A static ggml graph, and what T5's encoder and decoder are built of.

Keys and values stand side by side, one line per token: (2 * inner) values of F32. Axes are written
as ggml counts them, fastest first.
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
from t5engine.kernels import loader as kernel

Item = TypeVar("Item", np.float32, np.int32, np.int64)

BYTES = 4  # of F32
NODES_PER_LAYER = 48


class Lines(NamedTuple):
    """A line of values for each token, within a tensor.

    Attributes:
        tensor: that holds them.
        stride: bytes from line to line.
        offset: bytes to the first.
    """

    tensor: Tensor
    stride: int = 0
    offset: int = 0


class Attended(NamedTuple):
    """What an attention goes over.

    Attributes:
        queries: of each row.
        keys: of each row.
        rows: sequences, or inputs.
        apart: lines from one row's keys to the next row's.
    """

    queries: int
    keys: int
    rows: int = 1
    apart: int = 0


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
        self._custom: list[tuple[ctypes.Structure, dict[str, Lines]]] = []
        """What our own kernels are told, and the fields to be filled in after allocation."""

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
        for told, fields in self._custom:
            for name, lines in fields.items():
                setattr(told, name, self._g.ggml_get_data(lines.tensor) + lines.offset)

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
        """The same by our own kernel, all at once."""
        product = matrix.product()
        product.count = self._g.ggml_nbytes(x) // (matrix.columns * BYTES)
        product.norm = None if norm is None else self._g.ggml_get_data(self._weights[norm])
        product.epsilon = self._shape.epsilon
        product.rectified = relu
        fields = {"input": Lines(x)} | ({} if plus is None else {"residual": Lines(plus)})
        return self._run(kernel.multiply(), product, fields, (matrix.rows, product.count))

    def _run(
        self,
        function: c_void_p,
        told: ctypes.Structure,
        fields: dict[str, Lines],
        shape: tuple[int, int],
    ) -> Tensor:
        """An operation that ggml does not know.

        Args:
            function: a ggml_custom_op_t.
            told: what it is given; `fields` and "output" are filled in after allocation.
            fields: what it reads.
            shape: of the output.
        """
        sources = [lines.tensor for lines in fields.values()]
        y = self._g.ggml_custom_4d(
            self._ctx,
            ggml.F32,
            *(*shape, 1, 1),
            (c_void_p * len(sources))(*sources),
            len(sources),
            function,
            ggml.ALL_THREADS,
            ctypes.addressof(told),
        )
        self._custom.append((told, fields | {"output": Lines(int(y))}))
        return int(y)

    def _norm(self, x: Tensor, weight: str) -> Tensor:
        normed = self._g.ggml_rms_norm(self._ctx, x, self._shape.epsilon)
        return int(self._g.ggml_mul(self._ctx, normed, self._weights[weight]))

    def _project(self, name: str, x: Tensor, parts: int, norm: str | None = None) -> list[Lines]:
        """The products of fused or separate matrices."""
        if name in self._weights:
            fused = self._mul_mat(name, x, norm=norm)
            width = self._shape.inner * BYTES
            return [Lines(fused, parts * width, part * width) for part in range(parts)]
        return [
            Lines(self._mul_mat(f"{name}.{part}", x, norm=norm), self._shape.inner * BYTES)
            for part in range(parts)
        ]

    def _keep(
        self, cache: Tensor, keys: Lines, values: Lines, lines: Tensor, tokens: int
    ) -> Tensor:
        """Writes K and V of tokens into lines of a cache; the cache as it is afterwards."""
        inner = self._shape.inner
        if keys.tensor == values.tensor:  # side by side already
            both = self._g.ggml_view_2d(
                self._ctx, keys.tensor, 2 * inner, tokens, keys.stride, keys.offset
            )
            return int(self._g.ggml_set_rows(self._ctx, cache, both, lines))
        for half, (tensor, stride, offset) in zip(self._halves(cache), (keys, values), strict=True):
            part = self._g.ggml_view_2d(self._ctx, tensor, inner, tokens, stride, offset)
            count = self._g.ggml_nbytes(cache) // half.stride
            target = self._g.ggml_view_2d(self._ctx, cache, inner, count, half.stride, half.offset)
            self._expand(self._g.ggml_set_rows(self._ctx, target, part, lines))
        return cache

    def _halves(self, cache: Tensor) -> tuple[Lines, Lines]:
        """The K and the V of a cache."""
        width = self._shape.inner * BYTES
        return Lines(cache, 2 * width), Lines(cache, 2 * width, width)

    def _attend(
        self, q: Lines, k: Lines, v: Lines, bias: Tensor, over: Attended, *, biased_heads: bool
    ) -> Tensor:
        """softmax(q k + bias) v, as (inner, queries * rows); T5 has no 1/sqrt(d_kv).

        Args:
            q: a line for each query, those of a row one after another.
            k: a line for each key.
            v: likewise, as far apart as those of k.
            bias: (keys, queries, heads or 1, rows); -inf where a query may not look.
            over: how many there are of all.
            biased_heads: whether each head has a bias of its own.
        """
        shape = self._shape
        if self._weights.own_kernels and kernel.can_attend(shape.d_kv, over.keys):
            square = over.queries * over.keys
            told = kernel.AttentionStruct(
                d_kv=shape.d_kv,
                heads=shape.heads,
                queries=over.queries,
                keys=over.keys,
                rows=over.rows,
                q_line=q.stride // BYTES,
                kv_line=k.stride // BYTES,
                kv_row=over.apart * k.stride // BYTES,
                bias_head=square if biased_heads else 0,
                bias_row=square * (shape.heads if biased_heads else 1),
            )
            fields = {"q": q, "k": k, "v": v, "bias": Lines(bias)}
            return self._run(kernel.attend(), told, fields, (shape.inner, over.queries * over.rows))
        scores = self._g.ggml_mul_mat(
            self._ctx,
            self._heads(k, over.keys, over.rows, over.apart),
            self._heads(q, over.queries, over.rows, over.queries),
        )
        shares = self._g.ggml_soft_max_ext(self._ctx, scores, bias, 1.0, 0.0)
        # V stays as it is cached: out_prod sums over its tokens without a transposed copy.
        turned = self._g.ggml_permute(self._ctx, shares, 1, 0, 2, 3)
        values = self._heads(v, over.keys, over.rows, over.apart)
        mixed = self._g.ggml_out_prod(self._ctx, values, turned)
        if over.queries == 1:
            return int(self._g.ggml_reshape_2d(self._ctx, mixed, shape.inner, over.rows))
        merged = self._g.ggml_permute(self._ctx, mixed, 0, 2, 1, 3)
        return int(self._g.ggml_cont_2d(self._ctx, merged, shape.inner, over.queries * over.rows))

    def _heads(self, lines: Lines, tokens: int, rows: int, apart: int) -> Tensor:
        """(d_kv, tokens, heads, rows); rows are `apart` lines from each other."""
        shape = self._shape
        return int(
            self._g.ggml_view_4d(
                self._ctx,
                lines.tensor,
                *(shape.d_kv, tokens, shape.heads, rows),
                *(lines.stride, shape.d_kv * BYTES, apart * lines.stride),
                lines.offset,
            )
        )

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
