"""The memory of packed weights."""

from __future__ import annotations

import numpy as np

from t5engine.kernels.memory import CHUNK, Arena


def test_arrays_are_aligned_apart_and_writable() -> None:
    arena = Arena()
    arrays = [arena.allocate(size) for size in (1, 64, 100, CHUNK - 64, CHUNK + 1, 5)]
    for value, array in enumerate(arrays):
        array[:] = value
    for value, array in enumerate(arrays):
        assert array.ctypes.data % 64 == 0
        assert np.all(array == value)
    assert [array.nbytes for array in arrays] == [1, 64, 100, CHUNK - 64, CHUNK + 1, 5]
