from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

from support import tiny
from t5gguf import error_feedback
from t5gguf.ggml_quantize import Bytes, quantize_rows
from t5gguf.quantize import FEEDBACK_ROWS, Quantizer
from t5gguf.verify import ROW_BOUNDS

COLUMNS = 1024
TYPES = sorted(error_feedback.TYPES)


def noise(rows: int, seed: int = 0) -> tiny.Float32:
    drawn = np.random.RandomState(seed).standard_normal((rows, COLUMNS))
    return drawn.astype(np.float32)


def inputs(count: int, seed: int) -> tiny.Float32:
    """Draws inputs as in a model: they depend on 64 factors, and a few columns are much larger."""
    mixture = noise(64) * np.exp(noise(1, seed=1))
    drawn = np.random.RandomState(seed).standard_normal((count, 64)).astype(np.float32)
    return np.asarray(drawn @ mixture + 0.3 * noise(count, seed), np.float32)


def moments(count: int = 2000) -> tiny.Float32:
    x = inputs(count, seed=2)
    return x.T @ x / np.float32(count)


def values(data: Bytes, rows: int, tensor_type: Type) -> tiny.Float32:
    return np.asarray(dequantize(data.reshape(rows, -1), tensor_type), np.float32)


@pytest.fixture(scope="module", params=[1, 2])
def pool(request: pytest.FixtureRequest) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(request.param, mp_context=get_context("spawn")) as started:
        yield started


@pytest.mark.parametrize("tensor_type", TYPES, ids=lambda tensor_type: tensor_type.name)
def test_without_correlations_each_block_is_rounded_by_itself(tensor_type: Type) -> None:
    """Uncorrelated columns can't compensate each other's errors."""
    rows, block = noise(8), GGML_QUANT_SIZES[tensor_type][0]
    factor = error_feedback.factorize(np.eye(COLUMNS, dtype=np.float32))
    data = error_feedback.quantize(rows, tensor_type, factor).reshape(
        len(rows), COLUMNS // block, -1
    )
    weights = np.square(np.diag(factor))
    for index in range(COLUMNS // block):
        columns = slice(index * block, index * block + block)
        expected = quantize_rows(rows[:, columns], tensor_type, weights[columns])
        np.testing.assert_array_equal(data[:, index].reshape(-1), expected)


@pytest.mark.parametrize("tensor_type", TYPES, ids=lambda tensor_type: tensor_type.name)
def test_the_outputs_error_falls_on_inputs_that_were_not_seen(tensor_type: Type) -> None:
    """The error of the weights themselves may be larger."""
    rows, new_inputs = noise(64), inputs(500, seed=3)
    compensated = values(
        error_feedback.quantize(rows, tensor_type, error_feedback.factorize(moments())),
        len(rows),
        tensor_type,
    )
    plain = values(quantize_rows(rows, tensor_type), len(rows), tensor_type)
    error, before = (
        np.linalg.norm((rows - result) @ new_inputs.T) for result in (compensated, plain)
    )
    assert error < 0.75 * before


def test_a_column_that_repeats_another_compensates_its_error() -> None:
    """Inputs are equal in columns 0 and 32, so that only the sum of their weights counts."""
    together = np.eye(64, dtype=np.float32)
    together[0, 32] = together[32, 0] = 1
    rows = noise(200)[:, :64]
    compensated = values(
        error_feedback.quantize(rows, Type.Q4_0, error_feedback.factorize(together)), 200, Type.Q4_0
    )
    first, second = (compensated - rows)[:, 0], (compensated - rows)[:, 32]
    assert np.corrcoef(first, second)[0, 1] < -0.5


@pytest.mark.parametrize("tensor_type", TYPES, ids=lambda tensor_type: tensor_type.name)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_few_inputs_leave_rows_that_verification_accepts(tensor_type: Type, count: int) -> None:
    """Their moments are singular: an undamped factor would not exist, or feed back without end."""
    rows = noise(16)
    rows[3] = 0
    rows[5, 7] = 30
    x = inputs(count, seed=2)
    compensated = values(
        error_feedback.quantize(rows, tensor_type, error_feedback.factorize(x.T @ x)),
        len(rows),
        tensor_type,
    )
    size = np.sqrt(np.mean(rows**2, axis=1))
    assert np.all(
        np.sqrt(np.mean((compensated - rows) ** 2, axis=1)) <= ROW_BOUNDS[tensor_type] * size
    )


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_factor_is_of_the_damped_moments_whatever_their_scale(scale: float) -> None:
    small = moments()[:48, :48]
    factor = error_feedback.factorize(small * np.float32(scale))
    assert factor.dtype == np.float32
    np.testing.assert_array_equal(factor, np.triu(factor))
    expected = small / np.diag(small).mean() + error_feedback.DAMPING * np.eye(48)
    np.testing.assert_allclose(factor @ factor.T, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_processes(pool: ProcessPoolExecutor) -> None:
    """Rows are split at the same places, since BLAS may round other heights differently."""
    rows, factor = noise(2 * FEEDBACK_ROWS + 3), error_feedback.factorize(moments())
    data = Quantizer(pool)("x", rows, Type.Q4_0, moments())
    starts = range(0, len(rows), FEEDBACK_ROWS)
    chunks = [
        error_feedback.quantize(rows[at : at + FEEDBACK_ROWS], Type.Q4_0, factor) for at in starts
    ]
    np.testing.assert_array_equal(data, np.concatenate(chunks))
