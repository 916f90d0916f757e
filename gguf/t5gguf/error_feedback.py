"""Quantisation with error feedback: later columns compensate the errors of earlier columns.

For a matrix W with inputs x, the error that counts is E|(W - Q) x|^2 = |(W - Q) R|^2, where the
second moments are E[x xT] = R RT and R is upper triangular. Columns are quantised block by block.
With e the errors so far, the best target of block b is W_b + e R_.b R_bb^-1. The error that ggml's
rounding then leaves is the whole share of that block.
Source: GPTQ (Frantar et al. 2022), as the nearest-plane algorithm that it is (Chen et al. 2025).
"""

from __future__ import annotations

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

from t5gguf.ggml_quantize import Bytes, quantize_rows
from t5gguf.weights import F32

# The types whose files have a smaller measured error with feedback: gguf/README.md.
TYPES = frozenset({Type.Q4_0, Type.Q4_K, Type.Q5_0, Type.Q5_1, Type.Q5_K})
# Added to the mean square of each input, as a share of the mean over all inputs, since later
# queries differ from the calibration queries.
DAMPING = 0.1


def factorize(moments: F32) -> F32:
    """Returns R of damped moments of mean square 1, upper triangular.

    Without any inputs R is the identity. The factorisation runs in F64, since the moments of few
    inputs, or of inputs that are always 0, are nearly singular.
    """
    scale = float(np.mean(np.diag(moments), dtype=np.float64))
    if scale == 0:
        return np.eye(len(moments), dtype=np.float32)
    damped = moments.astype(np.float64) / scale
    damped[np.diag_indices_from(damped)] += DAMPING
    # Cholesky's factor is lower triangular. With both axes reversed before and after, it is upper.
    return np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1].astype(np.float32)


def quantize(rows: F32, tensor_type: Type, factor: F32) -> Bytes:
    """Quantises F32 values to ggml's bytes, each row independently of the others.

    Args:
        rows: the values, (rows, columns).
        tensor_type: the type of the result; the columns must be whole blocks of this type.
        factor: `factorize` of the moments, (columns, columns).
    """
    block_values, block_bytes = GGML_QUANT_SIZES[tensor_type]
    errors = np.zeros_like(rows)
    data = np.empty((len(rows), rows.shape[1] // block_values, block_bytes), np.uint8)
    for index in range(data.shape[1]):
        start = index * block_values
        block = slice(start, start + block_values)
        diagonal = factor[block, block]  # R_bb
        feedback = errors[:, :start] @ factor[:start, block]  # e R_.b
        target = rows[:, block] + np.linalg.solve(diagonal.T, feedback.T).T
        importance = np.square(diagonal).sum(axis=1)  # the diagonal of R_bb R_bbT
        quantized = quantize_rows(target, tensor_type, importance)
        data[:, index] = quantized.reshape(len(rows), block_bytes)
        errors[:, block] = rows[:, block] - dequantize(data[:, index], tensor_type)
    return data.reshape(-1)
