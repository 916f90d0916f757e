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

from t5engine.kernels import loader
from t5engine.kernels.loader import Kernels
from t5engine.kernels.memory import Arena

F32 = npt.NDArray[np.float32]
TYPE_NAMES = {loader.F16: "F16", loader.Q4_0: "Q4_0", loader.Q8_0: "Q8_0"}

NAMES = ("scalar", "avx2", "avxvnni", "avx512", "neon")
# The tests fail where the library is missing: whoever runs tests has a C compiler.
FOUND = {name: Kernels.find(name) for name in NAMES}
EVERY_KERNEL = [kernels for kernels in FOUND.values() if kernels is not None]


@pytest.fixture(params=EVERY_KERNEL, ids=lambda kernels: kernels.name)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels of each instruction set that this processor has, and the scalar ones."""
    found: Kernels = request.param
    return found


def test_auto_is_the_best_that_the_processor_has() -> None:
    best = [kernels.name for kernels in EVERY_KERNEL if kernels.name != "scalar"]
    found = Kernels.find()
    assert (found.name if found else None) == (best[-1] if best else None)


def test_an_unknown_instruction_set_has_no_kernels() -> None:
    assert Kernels.find("avx1024") is None


def quantised(x: F32) -> F32:
    """Rounds (count, columns) in blocks of 32 as the kernel does, and dequantises them."""
    blocks = x.reshape(len(x), -1, 32)
    max_abs = np.abs(blocks).max(axis=-1, keepdims=True)
    inverse = np.divide(np.float32(127), max_abs, out=np.zeros_like(max_abs), where=max_abs > 0)
    values = np.rint(blocks * inverse)
    return np.asarray(values * (max_abs / np.float32(127)), np.float32).reshape(x.shape)


def run(function: ctypes.c_void_p, params: ctypes.Structure, threads: int) -> None:
    """Calls an operation as ggml does, but one thread after another."""
    callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)(
        function.value or 0
    )
    for thread in range(threads):
        callback(None, thread, threads, ctypes.addressof(params))


def multiply(
    matrix: loader.Matrix,
    x: F32,
    threads: int,
    *,
    norm: F32 | None = None,
    relu: bool = False,
    residual: F32 | None = None,
    parts: int = 1,
) -> F32:
    """Returns the product, (count, rows). Checks that the memory around it is untouched."""
    y = np.full((len(x) + 2, matrix.rows), 7, np.float32)
    product = matrix.new_product()
    product.input, product.count = x.ctypes.data, len(x)
    product.output = y[1:].ctypes.data
    product.epsilon, product.relu, product.parts = 1e-6, relu, parts
    product.norm = None if norm is None else norm.ctypes.data
    product.residual = None if residual is None else residual.ctypes.data
    run(matrix.multiply_op, product, threads)
    assert np.all(y[[0, -1]] == 7)
    return y[1:-1]


def build_matrix(
    kernels: Kernels, tensor_type: int, weights: F32, parts: int = 1
) -> tuple[loader.Matrix, F32]:
    """Returns the matrix, built from so many parts, and the dequantised weights."""
    stored = quantize(weights, GGMLQuantizationType(tensor_type))
    split = [np.ascontiguousarray(part).reshape(-1) for part in np.split(stored, parts)]
    rounded = dequantize(stored, GGMLQuantizationType(tensor_type))
    rows, columns = weights.shape
    matrix = loader.Matrix(
        kernels, tensor_type, rows, columns, [part.view(np.uint8) for part in split], Arena()
    )
    return matrix, rounded


@given(
    kernels=st.sampled_from(EVERY_KERNEL),
    tensor_type=st.sampled_from(list(TYPE_NAMES)),
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    count=st.integers(1, 11),
    threads=st.integers(1, 3),
    seed=st.integers(0, 999),
)
@settings(deadline=None)
def test_products(
    *,
    kernels: Kernels,
    tensor_type: int,
    rows: int,
    columns: int,
    count: int,
    threads: int,
    seed: int,
) -> None:
    """Any shape, number of input rows and number of threads, zeros and large values included."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((16 * rows, 32 * columns)).astype(np.float32)
    x = (rng.standard_normal((count, 32 * columns)) * rng.choice([1e-3, 1, 1e3])).astype(np.float32)
    x[rng.random(count) < 0.2] = 0
    matrix, rounded = build_matrix(kernels, tensor_type, weights)
    expected = (x if tensor_type == loader.F16 else quantised(x)).astype(np.float64) @ rounded.T
    result = multiply(matrix, x, threads)
    assert np.abs(result - expected).max() <= 1e-5 * max(np.abs(expected).max(), 1e-30)


@pytest.mark.parametrize("count", [1, 5, 70])
@pytest.mark.parametrize("tensor_type", TYPE_NAMES, ids=TYPE_NAMES.get)
def test_norm_relu_and_residual(kernels: Kernels, tensor_type: int, count: int) -> None:
    """Norm and ReLU before a product and the residual after it, alone and together."""
    rng = np.random.default_rng(count)
    matrix, _ = build_matrix(
        kernels, tensor_type, rng.standard_normal((48, 1024)).astype(np.float32)
    )
    x = rng.standard_normal((count, 1024)).astype(np.float32)
    norm = rng.standard_normal(1024).astype(np.float32)
    residual = rng.standard_normal((count, 48)).astype(np.float32)
    normed = x / np.sqrt((x * x).mean(axis=1, keepdims=True) + np.float32(1e-6)) * norm
    for before, settings_ in (
        (x, {}),
        (normed, {"norm": norm}),
        (np.maximum(x, 0), {"relu": True}),
        (np.maximum(normed, 0), {"norm": norm, "relu": True}),
    ):
        expected = multiply(matrix, np.ascontiguousarray(before), 2)
        result = multiply(matrix, x, 2, **settings_)
        # A quantised value may be rounded the other way.
        tolerance = 0.05 if tensor_type != loader.F16 else 1e-3
        assert np.abs(result - expected).max() < tolerance * np.abs(expected).max()
        added = multiply(matrix, x, 2, residual=residual, **settings_)
        assert np.array_equal(added, result + residual)


@pytest.mark.parametrize("tensor_type", TYPE_NAMES, ids=TYPE_NAMES.get)
def test_the_batch_changes_no_bit(kernels: Kernels, tensor_type: int) -> None:
    """The result of an input row is the same in any batch, on any thread."""
    rng = np.random.default_rng(0)
    matrix, _ = build_matrix(
        kernels, tensor_type, rng.standard_normal((64, 3072)).astype(np.float32)
    )
    x = rng.standard_normal((90, 3072)).astype(np.float32)
    batch = multiply(matrix, x, 2)
    for index in (0, 1, 5, 20, 41, 89):
        assert np.array_equal(multiply(matrix, x[index : index + 1], 1)[0], batch[index])
    for count in (2, 3, 6):
        assert np.array_equal(multiply(matrix, x[:count], 3), batch[:count])


@pytest.mark.parametrize("count", [1, 4, 13])
@pytest.mark.parametrize("tensor_type", TYPE_NAMES, ids=TYPE_NAMES.get)
def test_a_block_diagonal_product(kernels: Kernels, tensor_type: int, count: int) -> None:
    """Each part of an input row meets its own rows of the matrix, with the bits of a product."""
    rng = np.random.default_rng(count)
    matrix, _ = build_matrix(kernels, tensor_type, rng.standard_normal((96, 64)).astype(np.float32))
    x = rng.standard_normal((count, 3 * 64)).astype(np.float32)
    by_part = [np.ascontiguousarray(part) for part in np.split(x, 3, axis=1)]
    expected = np.hstack(
        [multiply(matrix.slice_rows(32 * i, 32), part, 1) for i, part in enumerate(by_part)]
    )
    for threads in (1, 2, 5):
        assert np.array_equal(multiply(matrix, x, threads, parts=3), expected)


@pytest.mark.parametrize("tensor_type", TYPE_NAMES, ids=TYPE_NAMES.get)
def test_rows_of_a_matrix_are_a_matrix(kernels: Kernels, tensor_type: int) -> None:
    """Over the same memory, and with the same results."""
    rng = np.random.default_rng(3)
    matrix, _ = build_matrix(kernels, tensor_type, rng.standard_normal((64, 96)).astype(np.float32))
    x = rng.standard_normal((5, 96)).astype(np.float32)
    part = matrix.slice_rows(16, 32)
    assert np.array_equal(part.multiply(x), matrix.multiply(x)[:, 16:48])
    assert np.array_equal(part.multiply(x), multiply(matrix, x, 2)[:, 16:48])


@pytest.mark.skipif(FOUND["avx2"] is None, reason="no x86 processor with AVX2")
@pytest.mark.parametrize("tensor_type", TYPE_NAMES, ids=TYPE_NAMES.get)
def test_x86_s_instruction_sets_give_the_same_bits(tensor_type: int) -> None:
    """So a model answers alike on every x86 processor that has kernels of ours."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((48, 768)).astype(np.float32)
    x = rng.standard_normal((17, 768)).astype(np.float32)
    norm = rng.standard_normal(768).astype(np.float32)
    first, *others = [
        multiply(build_matrix(kernels, tensor_type, weights)[0], x, 2, norm=norm, relu=True)
        for kernels in EVERY_KERNEL
        if kernels.name in ("avx2", "avxvnni", "avx512")
    ]
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("tensor_type", [loader.Q4_0, loader.Q8_0], ids=TYPE_NAMES.get)
def test_parts_make_one_matrix(kernels: Kernels, tensor_type: int) -> None:
    """A matrix may consist of rows from several offsets of a file."""
    weights = np.random.default_rng(1).standard_normal((48, 64)).astype(np.float32)
    x = np.ones((1, 64), np.float32)
    whole, _ = build_matrix(kernels, tensor_type, weights)
    parts, _ = build_matrix(kernels, tensor_type, weights, 3)
    assert np.array_equal(multiply(whole, x, 1), multiply(parts, x, 1))


@pytest.mark.parametrize("tensor_type", TYPE_NAMES, ids=TYPE_NAMES.get)
def test_nan_and_infinity_propagate(kernels: Kernels, tensor_type: int) -> None:
    """NaN and infinity in an input row reach its result; the other rows stay finite."""
    matrix, _ = build_matrix(kernels, tensor_type, np.ones((16, 64), np.float32))
    for bad in (np.nan, np.inf, -np.inf):
        x = np.ones((2, 64), np.float32)
        x[1, 40] = bad
        for norm in (None, np.ones(64, np.float32)):
            result = multiply(matrix, x, 1, norm=norm)
            assert np.isfinite(result[0]).all()
            assert not np.isfinite(result[1]).any()
    x[1, 40] = np.nan
    assert not np.isfinite(multiply(matrix, x, 1, relu=True)[1]).any()


@pytest.mark.parametrize(
    ("tensor_type", "rows", "columns"),
    [
        (0, [16], 32),  # F32
        (12, [16], 256),  # Q4_K
        (loader.Q8_0, [24], 32),
        (loader.Q8_0, [16, 8], 32),
        (loader.Q8_0, [16], 48),
        (loader.Q8_0, [16], 16416),
        (loader.Q8_0, [16], 0),
    ],
)
def test_matrices_without_a_kernel(
    kernels: Kernels, tensor_type: int, rows: list[int], columns: int
) -> None:
    assert not kernels.can_multiply(tensor_type, rows, columns)


class Attention:
    """Inputs of an attention; keys and values are side by side in a cache with spare slots."""

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
        """Returns (rows, queries, heads, d_kv), by the definition."""
        k, v = (self.cache[:, : self.shape["keys"], i].astype(np.float64) for i in (0, 1))
        scores = np.einsum("rqhd,rkhd->rhqk", self.q, k) + self.bias
        probabilities = np.exp(scores - scores.max(axis=-1, keepdims=True))
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
        return np.asarray(np.einsum("rhqk,rkhd->rqhd", probabilities, v))

    def run_kernel(self, kernels: Kernels, threads: int) -> F32:
        """Returns (rows, queries, heads, d_kv), by the kernel."""
        output = np.full((self.q.size + 32,), 7, np.float32)
        kv_stride = 2 * self.shape["heads"] * self.shape["d_kv"]
        shared_bias = self.bias.shape[1] == 1
        head_scores = self.shape["queries"] * self.shape["keys"]
        params = loader.AttentionStruct(
            q=self.q.ctypes.data,
            k=self.cache.ctypes.data,
            v=self.cache[0, 0, 1].ctypes.data,
            bias=self.bias.ctypes.data,
            output=output[16:].ctypes.data,
            q_stride=kv_stride // 2,
            kv_stride=kv_stride,
            kv_row_stride=(self.shape["keys"] + 3) * kv_stride,
            kv_head_stride=self.shape["d_kv"],
            bias_head_stride=0 if shared_bias else head_scores,
            bias_row_stride=self.bias.shape[1] * head_scores,
            **self.shape,
        )
        run(kernels.attention_op, params, threads)
        assert np.all(output[:16] == 7)
        assert np.all(output[-16:] == 7)
        return output[16:-16].reshape(self.q.shape)


@given(
    kernels=st.sampled_from(EVERY_KERNEL),
    d_kv=st.sampled_from([64, 128]),
    heads=st.integers(1, 5),
    queries=st.integers(1, 5) | st.integers(14, 40),
    keys=st.integers(1, 40).map(lambda n: 4 * n),
    rows=st.integers(1, 3),
    shared_bias=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 999),
)
@settings(deadline=None)
def test_attention(
    *,
    kernels: Kernels,
    d_kv: int,
    heads: int,
    queries: int,
    keys: int,
    rows: int,
    shared_bias: bool,
    threads: int,
    seed: int,
) -> None:
    """Any shape, a bias per head or a shared one, with masked keys."""
    attention = Attention(
        np.random.default_rng(seed), d_kv=d_kv, heads=heads, queries=queries, keys=keys, rows=rows
    )
    if shared_bias:
        attention.bias = np.ascontiguousarray(attention.bias[:, :1])
    # Many queries are summed value by value, a few in 16 lanes, which rounds less.
    bound = 1e-5 if queries < 16 else 5e-5
    assert np.allclose(
        attention.run_kernel(kernels, threads), attention.expected(), rtol=bound, atol=bound
    )


def test_attention_of_large_scores(kernels: Kernels) -> None:
    """Probabilities from 1 down to less than F32 can hold."""
    attention = Attention(np.random.default_rng(0), d_kv=64, heads=2, queries=3, keys=16, rows=2)
    attention.q *= 100
    assert np.allclose(attention.run_kernel(kernels, 2), attention.expected(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("queries", [3, 22])
def test_attention_ignores_masked_keys(kernels: Kernels, queries: int) -> None:
    """NaN in a masked key or value changes no bit; NaN in a visible value reaches the result."""
    rng = np.random.default_rng(0)
    attention = Attention(rng, d_kv=64, heads=2, queries=queries, keys=8, rows=2)
    attention.bias[:, :, :, 5] = -np.inf
    before = attention.run_kernel(kernels, 1)
    attention.cache[0, 5] = np.nan
    assert np.array_equal(attention.run_kernel(kernels, 1), before)
    attention.cache[0, 0, 0, 1, 7] = np.nan
    result = attention.run_kernel(kernels, 1)
    assert np.isnan(result[0, :, 1]).all()
    assert np.isfinite(result[:, :, 0]).all()
    assert np.isfinite(result[1]).all()


@pytest.mark.parametrize("heads", [1, 2, 7, 12])
def test_heads_that_share_keys(kernels: Kernels, heads: int) -> None:
    """Each head is a query over the same states; which heads a thread has changes no bit."""
    rng = np.random.default_rng(heads)
    q = rng.standard_normal((3, heads, 192)).astype(np.float32)
    states = rng.standard_normal((3, 20, 192)).astype(np.float32)
    states[:, 17] = np.nan
    mask = np.zeros((3, 20), np.float32)
    mask[:, 16:] = -np.inf
    states[1, 2] = np.inf
    mask[1, 2] = -np.inf

    def attend(threads: int) -> F32:
        output = np.zeros_like(q)
        params = loader.AttentionStruct(
            *(q.ctypes.data, states.ctypes.data, states.ctypes.data, mask.ctypes.data),
            *(output.ctypes.data, 192, heads, 1, 20, 3),
            q_stride=heads * 192,
            kv_stride=192,
            kv_row_stride=20 * 192,
            bias_row_stride=20,
        )
        run(kernels.attention_op, params, threads)
        return output

    visible = np.where(np.isneginf(mask)[..., None], 0, states).astype(np.float64)
    scores = np.einsum("rhd,rkd->rhk", q, visible) + mask[:, None]
    probabilities = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    expected = np.einsum("rhk,rkd->rhd", probabilities, visible)
    result = attend(1)
    assert np.allclose(result, expected, rtol=1e-4, atol=1e-4)
    for threads in (2, 5, 36):
        assert np.array_equal(attend(threads), result)


def test_attention_hides_a_key_from_one_query_of_many(kernels: Kernels) -> None:
    """NaN reaches only the queries that see it."""
    rng = np.random.default_rng(0)
    attention = Attention(rng, d_kv=64, heads=2, queries=20, keys=8, rows=1)
    attention.bias[:, :, :, 5] = 0
    attention.bias[:, :, 7, 5] = -np.inf
    attention.cache[0, 5] = np.nan
    result = attention.run_kernel(kernels, 1)
    assert np.isfinite(result[0, 7]).all()
    assert np.isnan(np.delete(result[0], 7, axis=0)).all()


@pytest.mark.parametrize(("d_kv", "keys"), [(0, 16), (64, 0), (64, 5000)])
def test_attention_without_a_kernel(kernels: Kernels, d_kv: int, keys: int) -> None:
    assert not kernels.can_attend(d_kv, keys)


@pytest.mark.parametrize(("d_kv", "keys"), [(32, 16), (64, 6)])
def test_odd_shapes_are_left_to_ggml(kernels: Kernels, d_kv: int, keys: int) -> None:
    assert kernels.can_attend(d_kv, keys) == (kernels.name == "scalar")
