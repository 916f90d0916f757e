"""A ggml graph with inputs, matrix products and operations of our own.

Shapes of ggml tensors are written in ggml's order: the fastest axis first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Hashable
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


class Graph:
    """A graph that is built and allocated once, and computed any number of times.

    Attributes:
        address: of ggml's graph.
        shape_key: graphs with the same one take about the same time.
    """

    def __init__(self, cpu: Cpu, weights: Weights, layers: int, shape_key: Hashable) -> None:
        nodes = NODES_PER_LAYER * layers + 64
        self._cpu, self.shape_key = cpu, shape_key
        self._g = cpu.ggml
        self._context = Context(2 * nodes, graph=nodes)
        self._ctx = self._context.address
        self.address = int(self._g.ggml_new_graph_custom(self._ctx, nodes, False))  # noqa: FBT003 - C
        self._allocator = self._g.ggml_gallocr_new(cpu.buffer_type)
        self._weights = weights
        self._shape = weights.shape
        self._custom_ops: list[tuple[ctypes.Structure, dict[str, StridedRows]]] = []
        """Parameters of our own kernels, and their pointer fields, set after allocation."""

    def compute(self) -> None:
        """Runs the graph on the current values of its inputs."""
        self._cpu.compute(self.address, self.shape_key)

    @property
    def nbytes(self) -> int:
        """Bytes of the graph: the data of its tensors, and their metadata."""
        return self._context.size + int(self._g.ggml_gallocr_get_buffer_size(self._allocator, 0))

    def close(self) -> None:
        """Frees the graph. Arrays over its tensors are invalid afterwards."""
        self._g.ggml_gallocr_free(self._allocator)
        self._context.close()

    def _allocate(self) -> None:
        if not self._g.ggml_gallocr_alloc_graph(self._allocator, self.address):
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
        self._g.ggml_build_forward_expand(self.address, tensor)

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
        norm: str | None = None,
        *,
        relu: bool = False,
        residual: Tensor | None = None,
        parts: int = 1,
    ) -> Tensor:
        """Does the work of `_mul_mat` with our own kernel, as one operation.

        With several parts the matrix is block diagonal, and x is (parts * columns, count).
        """
        product = matrix.new_product()
        product.count = self._g.ggml_nbytes(x) // (parts * matrix.columns * BYTES)
        product.parts = parts
        product.norm = None if norm is None else self._g.ggml_get_data(self._weights[norm])
        product.epsilon = self._shape.epsilon
        product.relu = relu
        fields = {"input": StridedRows(x)}
        if residual is not None:
            fields["residual"] = StridedRows(residual)
        shape = (matrix.rows, product.count)
        return self._add_custom_op(matrix.multiply_op, product, fields, shape)

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
