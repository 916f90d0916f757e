"""The matrices of a cross-attention that attends to the encoder's states, without K and V of them.

One step over an input does not need K and V of every token: q (K x) = (q K) x, and the sum of
p (V x) is V times the sum of p x. The product q K needs a transposed copy of K.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from t5engine.graph.model_shape import ModelShape
from t5engine.kernels import loader
from t5engine.kernels.loader import Kernels, Matrix
from t5engine.kernels.memory import Arena


class StateMatrices(NamedTuple):
    """The matrices of one decoder layer, each with a part for every head.

    Attributes:
        k_by_columns: (heads * d_model, d_kv), in F16.
        v: (d_inner, d_model), over the memory of the cross-attention's own matrix.
    """

    k_by_columns: Matrix
    v: Matrix


def has_state_matrices(kernels: Kernels, shape: ModelShape) -> bool:
    """Whether the kernels take these matrices, and states as keys."""
    transposed = kernels.can_multiply(loader.F16, [shape.d_model], shape.d_kv)
    return (
        transposed and not shape.d_kv % loader.GROUP and kernels.can_attend(shape.d_model, keys=16)
    )


def build_state_matrices(
    kernels: Kernels, shape: ModelShape, k: Matrix, v: Matrix, arena: Arena
) -> StateMatrices:
    """Returns the matrices of a layer, from the matrices of its K and V."""
    columns = k.multiply(np.eye(shape.d_model, dtype=np.float32))
    by_head = columns.reshape(shape.d_model, shape.heads, shape.d_kv).swapaxes(0, 1)
    data = by_head.astype(np.float16).reshape(-1).view(np.uint8)
    rows = shape.heads * shape.d_model
    return StateMatrices(Matrix(kernels, loader.F16, rows, shape.d_kv, [data], arena), v)
