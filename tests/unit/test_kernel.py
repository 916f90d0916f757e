"""Our own kernels, against numpy on the same numbers."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st

from t5engine.kernels import loader as kernel

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


def run(function: ctypes.c_void_p, told: ctypes.Structure, threads: int) -> None:
    """As ggml does, but all threads one after another."""
    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)(
        function.value or 0
    )
    for thread in range(threads):
        callback(None, thread, threads, ctypes.addressof(told))


def multiply(
    matrix: kernel.Matrix,
    x: F32,
    threads: int,
    *,
    norm: F32 | None = None,
    rectified: bool = False,
    residual: F32 | None = None,
) -> F32:
    """(count, rows); the memory around it stays as it is."""
    y = np.full((len(x) + 2, matrix.rows), 7, np.float32)
    product = matrix.product()
    product.input, product.count = x.ctypes.data, len(x)
    product.output = y[1:].ctypes.data
    product.epsilon, product.rectified = 1e-6, rectified
    product.norm = None if norm is None else norm.ctypes.data
    product.residual = None if residual is None else residual.ctypes.data
    run(kernel.multiply(), product, threads)
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


@pytest.mark.parametrize("count", [1, 5, 70])
@pytest.mark.parametrize("kind", KINDS, ids=KINDS.get)
def test_what_is_done_with_a_product(kind: int, count: int) -> None:
    """Norm and ReLU before it, an addition after it, alone and together."""
    rng = np.random.default_rng(count)
    matrix, _ = matrix_of(kind, rng.standard_normal((48, 1024)).astype(np.float32))
    x = rng.standard_normal((count, 1024)).astype(np.float32)
    norm = rng.standard_normal(1024).astype(np.float32)
    residual = rng.standard_normal((count, 48)).astype(np.float32)
    normed = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + np.float32(1e-6)) * norm
    for before, settings_ in (
        (x, {}),
        (normed, {"norm": norm}),
        (np.maximum(x, 0), {"rectified": True}),
        (np.maximum(normed, 0), {"norm": norm, "rectified": True}),
    ):
        expected = multiply(matrix, np.ascontiguousarray(before), 2)
        found = multiply(matrix, x, 2, **settings_)
        near = 0.05 if kind != kernel.F16 else 1e-3  # a value may be rounded the other way
        assert np.abs(found - expected).max() < near * np.abs(expected).max()
        added = multiply(matrix, x, 2, residual=residual, **settings_)
        assert np.array_equal(added, found + residual)


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
        for norm in (None, np.ones(64, np.float32)):
            found = multiply(matrix, x, 1, norm=norm)
            assert np.isfinite(found[0]).all()
            assert not np.isfinite(found[1]).any()
    x[1, 40] = np.nan
    assert not np.isfinite(multiply(matrix, x, 1, rectified=True)[1]).any()


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


class Attention:
    """Numbers for an attention: keys and values side by side in a cache with more lines."""

    def __init__(
        self, rng: np.random.Generator, *, d_kv: int, heads: int, queries: int, keys: int, rows: int
    ) -> None:
        def draw(*shape: int) -> F32:
            return rng.standard_normal(shape).astype(np.float32)

        self.shape = {"d_kv": d_kv, "heads": heads, "queries": queries, "keys": keys, "rows": rows}
        self.q = draw(rows, queries, heads, d_kv)
        self.cache = draw(rows, keys + 3, 2, heads, d_kv)
        self.bias = 3 * draw(rows, heads, queries, keys)
        self.bias[rng.random(self.bias.shape) < 0.3] = -np.inf
        self.bias[..., 0] = 0

    def expected(self) -> npt.NDArray[np.float64]:
        """(rows, queries, heads, d_kv), by the definition."""
        k, v = (self.cache[:, : self.shape["keys"], i].astype(np.float64) for i in (0, 1))
        scores = np.einsum("rqhd,rkhd->rhqk", self.q, k) + self.bias
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        return np.asarray(np.einsum("rhqk,rkhd->rqhd", shares, v))

    def found(self, threads: int) -> F32:
        """The same by the kernel."""
        output = np.full((self.q.size + 32,), 7, np.float32)
        line = 2 * self.shape["heads"] * self.shape["d_kv"]
        one_bias = self.bias.shape[1] == 1
        square = self.shape["queries"] * self.shape["keys"]
        told = kernel.AttentionStruct(
            q=self.q.ctypes.data,
            k=self.cache.ctypes.data,
            v=self.cache[0, 0, 1].ctypes.data,
            bias=self.bias.ctypes.data,
            output=output[16:].ctypes.data,
            q_line=line // 2,
            kv_line=line,
            kv_row=(self.shape["keys"] + 3) * line,
            bias_head=0 if one_bias else square,
            bias_row=self.bias.shape[1] * square,
            **self.shape,
        )
        run(kernel.attend(), told, threads)
        assert np.all(output[:16] == 7)
        assert np.all(output[-16:] == 7)
        return output[16:-16].reshape(self.q.shape)


@given(
    d_kv=st.sampled_from([64, 128]),
    heads=st.integers(1, 5),
    queries=st.integers(1, 5),
    keys=st.integers(1, 10).map(lambda n: 4 * n),
    rows=st.integers(1, 3),
    one_bias=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 999),
)
@settings(deadline=None)
def test_attention(
    *,
    d_kv: int,
    heads: int,
    queries: int,
    keys: int,
    rows: int,
    one_bias: bool,
    threads: int,
    seed: int,
) -> None:
    """Any shape, a bias for each head or for all, with keys that may not be looked at."""
    numbers = Attention(
        np.random.default_rng(seed), d_kv=d_kv, heads=heads, queries=queries, keys=keys, rows=rows
    )
    if one_bias:
        numbers.bias = np.ascontiguousarray(numbers.bias[:, :1])
    assert np.allclose(numbers.found(threads), numbers.expected(), rtol=1e-5, atol=1e-5)


def test_attention_of_large_scores() -> None:
    """Shares from 1 to less than F32 has."""
    numbers = Attention(np.random.default_rng(0), d_kv=64, heads=2, queries=3, keys=16, rows=2)
    numbers.q *= 100
    assert np.allclose(numbers.found(2), numbers.expected(), rtol=1e-4, atol=1e-4)


def test_attention_does_not_see_what_is_hidden() -> None:
    """NaN in a key or value behind -inf changes no bit; in one that counts, it is in the result."""
    numbers = Attention(np.random.default_rng(0), d_kv=64, heads=2, queries=3, keys=8, rows=2)
    numbers.bias[:, :, :, 5] = -np.inf
    before = numbers.found(1)
    numbers.cache[0, 5] = np.nan
    assert np.array_equal(numbers.found(1), before)
    numbers.cache[0, 0, 0, 1, 7] = np.nan
    found = numbers.found(1)
    assert np.isnan(found[0, :, 1]).all()
    assert np.isfinite(found[:, :, 0]).all()
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize(("d_kv", "keys"), [(32, 16), (0, 16), (64, 6), (64, 0), (64, 5000)])
def test_attention_that_ggml_has_to_do(d_kv: int, keys: int) -> None:
    assert not kernel.can_attend(d_kv, keys)
