"""T5's relative positions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def relative_position_bucket(
    distance: npt.NDArray[np.int_], buckets: int, max_distance: int, *, bidirectional: bool
) -> npt.NDArray[np.int_]:
    """Bucket of each key position minus query position, shape kept.

    Half of the buckets are exact, the rest grow logarithmically up to the maximum distance.
    Source: Raffel et al. 2020; F32 as in transformers, where rounding decides at powers of two.
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
    far = exact + (ratio / scale * np.float32(buckets - exact)).astype(np.int_)
    return offset + np.where(distance < exact, distance, np.minimum(far, buckets - 1))
