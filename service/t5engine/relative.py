"""T5's relative position buckets."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def relative_position_bucket(
    distance: npt.NDArray[np.int_], buckets: int, max_distance: int, *, bidirectional: bool
) -> npt.NDArray[np.int_]:
    """Returns the bucket of each distance (key position - query position), in the same shape.

    Half of the buckets hold one distance each; the others grow logarithmically up to max_distance.
    Source: Raffel et al. 2020. Computed in F32 as in transformers, because rounding decides at
    powers of two.
    """
    offset = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        offset = np.where(distance > 0, buckets, 0)
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = buckets // 2
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    scale = np.float32(math.log(max_distance / exact))
    logarithmic = exact + (ratio / scale * np.float32(buckets - exact)).astype(np.int_)
    return offset + np.where(distance < exact, distance, np.minimum(logarithmic, buckets - 1))
