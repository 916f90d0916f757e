"""Quantising with error feedback: later columns make up for the errors of those before them.

Of a matrix W with inputs x, E|(W - Q) x|^2 = |(W - Q) R|^2 counts, where the second moments
E[x xT] are R RT and R is upper triangular. So block by block of columns, with e the errors so far,
the best target of block b is W_b + e R_.b R_bb^-1: what is left of it after ggml's own rounding is
the whole of that block's share.
Source: GPTQ (Frantar et al. 2022), as the nearest-plane algorithm that it is (Chen et al. 2025).
"""

from __future__ import annotations

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

from t5gguf.checkpoint import F32
from t5gguf.native import Bytes, quantize_rows

# The types whose files measured better for it: gguf/README.md.
TYPES = frozenset({Type.Q4_0, Type.Q4_K, Type.Q5_0, Type.Q5_1, Type.Q5_K})
# Added to each input's mean square, in terms of their mean: the queries to come are others.
DAMPING = 0.1


def factor(moments: F32) -> F32:
    """R of damped moments of mean square 1, upper triangular; of no inputs at all, the identity.

    In F64, since the moments of few inputs, or of dead ones, are nearly singular.
    """
    scale = float(np.mean(np.diag(moments), dtype=np.float64))
    if scale == 0:
        return np.eye(len(moments), dtype=np.float32)
    damped = moments.astype(np.float64) / scale
    damped[np.diag_indices_from(damped)] += DAMPING
    # Cholesky's factor is lower triangular; turned around, that of the matrix turned around.
    return np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1].astype(np.float32)


def quantize(rows: F32, kind: Type, root: F32) -> Bytes:
    """Quantises (rows, columns) F32 to ggml's bytes, each row by itself.

    Args:
        rows: what to quantise.
        kind: to what; columns are whole blocks of it.
        root: `factor` of the moments, (columns, columns).
    """
    block, size = GGML_QUANT_SIZES[kind]
    errors = np.zeros_like(rows)
    data = np.empty((len(rows), rows.shape[1] // block, size), np.uint8)
    for index in range(data.shape[1]):
        start = index * block
        here = slice(start, start + block)
        own = root[here, here]
        owed = errors[:, :start] @ root[:start, here]
        target = rows[:, here] + np.linalg.solve(own.T, owed.T).T
        importance = np.square(own).sum(axis=1)  # the diagonal of R_bb R_bbT
        data[:, index] = quantize_rows(target, kind, importance).reshape(len(rows), size)
        errors[:, here] = rows[:, here] - dequantize(data[:, index], kind)
    return data.reshape(-1)
