"""Our own matrix products, against numpy on the same numbers."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st

from t5serve.worker import kernel

F32 = npt.NDArray[np.float32]
KINDS = {kernel.F16: "F16", kernel.Q4_0: "Q4_0", kernel.Q8_0: "Q8_0"}

# Where the library is missing they fail: whoever runs tests has a C compiler.
pytestmark = pytest.mark.skipif(
    kernel.load() is not None and not kernel.can_multiply(kernel.Q8_0, [16], 32),
    reason="this processor has no kernel",
)


def quantised(x: F32) -> F32:
    """Blocks of 32 as the kernel rounds them, (count, columns), and back again."""
    blocks = x.reshape(len(x), -1, 32)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
    values = np.rint(blocks * inverse)
    return np.asarray(values * (largest / np.float32(127)), np.float32).reshape(x.shape)


def multiply(matrix: kernel.Matrix, x: F32, threads: int) -> F32:
    """(count, rows), all threads one after another; the memory around it stays as it is."""
    y = np.full((len(x) + 2, matrix.rows), 7, np.float32)
    product = matrix.product()
    product.input, product.count = x.ctypes.data, len(x)
    product.output = y[1:].ctypes.data
    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)(
        kernel.function().value or 0
    )
    for thread in range(threads):
        callback(None, thread, threads, ctypes.addressof(product))
    assert np.all(y[[0, -1]] == 7)
    return y[1:-1]


def matrix_of(kind: int, weights: F32, parts: int = 1) -> tuple[kernel.Matrix, F32]:
    """In so many parts; and the weights after rounding."""
    stored = quantize(weights, GGMLQuantizationType(kind))
    split = [np.ascontiguousarray(part).reshape(-1) for part in np.split(stored, parts)]
    rounded = dequantize(stored, GGMLQuantizationType(kind))
    rows, columns = weights.shape
    return kernel.Matrix(kind, rows, columns, [part.view(np.uint8) for part in split]), rounded


@given(
    kind=st.sampled_from(list(KINDS)),
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    count=st.integers(1, 11),
    threads=st.integers(1, 3),
    seed=st.integers(0, 999),
)
@settings(deadline=None)
def test_products(kind: int, rows: int, columns: int, count: int, threads: int, seed: int) -> None:
    """Any shape, any number of columns, any number of threads, zeros and large values too."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((16 * rows, 32 * columns)).astype(np.float32)
    x = (rng.standard_normal((count, 32 * columns)) * rng.choice([1e-3, 1, 1e3])).astype(np.float32)
    x[rng.random(count) < 0.2] = 0
    matrix, rounded = matrix_of(kind, weights)
    expected = (x if kind == kernel.F16 else quantised(x)).astype(np.float64) @ rounded.T
    found = multiply(matrix, x, threads)
    assert np.abs(found - expected).max() <= 1e-5 * max(np.abs(expected).max(), 1e-30)


@pytest.mark.parametrize("kind", KINDS, ids=KINDS.get)
def test_company_changes_no_bit(kind: int) -> None:
    """A column's result is the same whatever is multiplied beside it, on any thread."""
    rng = np.random.default_rng(0)
    matrix, _ = matrix_of(kind, rng.standard_normal((64, 3072)).astype(np.float32))
    x = rng.standard_normal((90, 3072)).astype(np.float32)
    together = multiply(matrix, x, 2)
    for place in (0, 1, 5, 20, 41, 89):
        assert np.array_equal(multiply(matrix, x[place : place + 1], 1)[0], together[place])
    for count in (2, 3, 6):
        assert np.array_equal(multiply(matrix, x[:count], 3), together[:count])


@pytest.mark.parametrize("kind", [kernel.Q4_0, kernel.Q8_0], ids=KINDS.get)
def test_parts_make_one_matrix(kind: int) -> None:
    """Rows of several places in a file."""
    weights = np.random.default_rng(1).standard_normal((48, 64)).astype(np.float32)
    x = np.ones((1, 64), np.float32)
    whole, parts = matrix_of(kind, weights)[0], matrix_of(kind, weights, 3)[0]
    assert np.array_equal(multiply(whole, x, 1), multiply(parts, x, 1))


@pytest.mark.parametrize("kind", KINDS, ids=KINDS.get)
def test_numbers_that_are_none_stay_none(kind: int) -> None:
    """NaN and infinity in an input are seen in its result, not rounded away."""
    matrix, _ = matrix_of(kind, np.ones((16, 64), np.float32))
    for bad in (np.nan, np.inf, -np.inf):
        x = np.ones((2, 64), np.float32)
        x[1, 40] = bad
        found = multiply(matrix, x, 1)
        assert np.isfinite(found[0]).all()
        assert not np.isfinite(found[1]).any()


@pytest.mark.parametrize(
    ("kind", "rows", "columns"),
    [
        (0, [16], 32),  # F32
        (12, [16], 256),  # Q4_K
        (kernel.Q8_0, [24], 32),
        (kernel.Q8_0, [16, 8], 32),
        (kernel.Q8_0, [16], 48),
        (kernel.Q8_0, [16], 16416),
        (kernel.Q8_0, [16], 0),
    ],
)
def test_what_ggml_has_to_do(kind: int, rows: list[int], columns: int) -> None:
    assert not kernel.can_multiply(kind, rows, columns)
