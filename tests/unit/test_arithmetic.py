"""What searches compute over a vocabulary: numpy's definition, and the same in C."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5engine.decoding.arithmetic import Arithmetic, NumpyArithmetic
from t5engine.decoding.logprobs import F32
from t5engine.kernels.loader import load_library
from t5engine.kernels.logits import NativeArithmetic, find_arithmetic

# A few values make ties; -inf is what a token has that is never generated.
VALUES = st.sampled_from([-np.inf, -80.5, -3.0, -1.0, 0.0, 0.25, 7.5, 40.0])
SIZES = st.sampled_from([1, 7, 63, 64, 65, 200, 4096, 5000])


@pytest.fixture(params=[NumpyArithmetic(), find_arithmetic()], ids=["numpy", "native"])
def arithmetic(request: pytest.FixtureRequest) -> Arithmetic:
    """Both; the native one is there, since whoever runs tests has a C compiler."""
    found: Arithmetic = request.param
    return found


def draw_rows(data: st.DataObject, size: int) -> list[F32]:
    """Draws rows of random values, some with a few values repeated over and over."""
    seeds = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4))
    rows = []
    for seed in seeds:
        row = np.random.default_rng(seed).normal(0, 4, size).astype(np.float32)
        pattern = data.draw(st.lists(VALUES, max_size=5))
        if pattern:
            row[:: len(pattern)] = np.resize(pattern, row[:: len(pattern)].size)
        rows.append(row)
    return rows


def test_the_native_one_is_found() -> None:
    """Compiled kernels are used unless ggml's are asked for."""
    assert isinstance(find_arithmetic(), NativeArithmetic)
    assert isinstance(find_arithmetic(native=False), NumpyArithmetic)


@given(data=st.data(), size=SIZES, count=st.integers(1, 64))
def test_the_best_are_those_of_sorting(data: st.DataObject, size: int, count: int) -> None:
    """The best continuations are the first of all, sorted by score, then row, then token."""
    rows = draw_rows(data, size)
    offsets = data.draw(
        st.lists(VALUES.filter(np.isfinite), min_size=len(rows), max_size=len(rows))
    )
    everything = [
        (-float(score), row, token)
        for row, scores in enumerate(rows)
        for token, score in enumerate(scores + np.float32(offsets[row]))
        if np.isfinite(score)
    ]
    expected = [(row, token, -score) for score, row, token in sorted(everything)[:count]]
    for arithmetic in (NumpyArithmetic(), find_arithmetic()):
        assert arithmetic.best(rows, offsets, count) == expected


@given(data=st.data(), size=SIZES, count=st.integers(1, 64))
def test_the_likeliest_are_the_best_log_probabilities(
    data: st.DataObject, size: int, count: int
) -> None:
    """One call over logits gives what `best` gives over their log-probabilities, bit for bit."""
    rows = [row for row in draw_rows(data, size) if np.isfinite(row.max())]
    if not rows:
        return
    offsets = [-1.5 * row for row in range(len(rows))]
    excluded = np.arange(0, size, 7, dtype=np.int64)
    for arithmetic in (NumpyArithmetic(), find_arithmetic()):
        logprobs = [row - np.float32(arithmetic.log_sum_exp(row)) for row in rows]
        allowed = [row.copy() for row in logprobs]
        for row in allowed:
            row[excluded] = -np.inf
        expected = [
            (row, token, float(logprobs[row][token]), score)
            for row, token, score in arithmetic.best(allowed, offsets, count)
        ]
        assert arithmetic.likeliest(rows, offsets, count, excluded) == expected


@given(data=st.data(), size=SIZES)
def test_the_log_of_a_sum(data: st.DataObject, size: int) -> None:
    """The log of the sum is that of F64 to a millionth, without overflow."""
    for row in draw_rows(data, size):
        for values in (row, row + np.float32(1000)):
            wide = values.astype(np.float64)
            if not np.isfinite(wide.max()):
                continue
            expected = wide.max() + np.log(np.exp(wide - wide.max()).sum())
            for arithmetic in (NumpyArithmetic(), find_arithmetic()):
                assert arithmetic.log_sum_exp(values) == pytest.approx(expected, abs=1e-6, rel=2e-7)


def test_what_can_t_be_generated(arithmetic: Arithmetic) -> None:
    """Without a finite score there is no continuation."""
    nothing = np.full(1000, -np.inf, np.float32)
    assert arithmetic.best([nothing, nothing], [0.0, -1.0], 4) == []


def test_wrong_values_are_refused_before_they_are_read() -> None:
    """Rows of different lengths or types, or without their offset, never reach native code."""
    native = find_arithmetic()
    row = np.zeros(10, np.float32)
    cases: list[tuple[list[Any], list[float], int]] = [
        ([row, row[:5]], [0.0, 0.0], 2),
        ([row, row], [0.0], 2),
        ([row], [0.0], 0),
        ([row.astype(np.float64)], [0.0], 2),
        ([row[::2]], [0.0], 2),
    ]
    for rows, offsets, count in cases:
        with pytest.raises(ValueError, match="expected"):
            native.best(rows, offsets, count)


@given(
    size=SIZES,
    seed=st.integers(0, 2**32 - 1),
    at=st.integers(0, 10**6),
    value=st.sampled_from([-90.0, 0.0, 50.0, np.nan, np.inf, -np.inf]),
)
def test_the_highest_value(size: int, seed: int, at: int, value: float) -> None:
    """The first of the highest, as numpy finds it; what is no number is seen before."""
    row = np.random.default_rng(seed).integers(-50, 50, size).astype(np.float32)
    row[at % size] = value
    library, address = load_library(), row.ctypes.data
    assert bool(library.t5_are_finite(address, size)) == np.isfinite(row).all()
    if not np.isnan(value):
        assert library.t5_find_highest(address, size) == row.argmax()
