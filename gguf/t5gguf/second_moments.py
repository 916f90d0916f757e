"""The second moments E[x xT] of each matrix's inputs x, over real queries in the reference."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np
from tqdm import tqdm

from t5gguf.errors import ConversionError
from t5gguf.reference import Reference
from t5gguf.weights import F32

DECODER_STEPS = 16  # per query, along the reference's own greedy path
MAX_COLUMNS = 8192  # 256 MB of moments; the ffn_down of T5-3B and T5-11B has more columns
BUFFERED_INPUTS = 128  # inputs that are multiplied at once


class SecondMoments:
    """The sum of x xT over all inputs x of each matrix, and the number of inputs.

    Matrices with the same inputs share one sum. A sum is F32 and takes 4 x columns^2 bytes. All
    sums together take 31 MB for a T5 of d_model 256 and 4 + 2 layers, 1.1 GB for t5-base, and
    4 GB for t5-large. A matrix of more than `MAX_COLUMNS` columns has no sum.

    Attributes:
        queries: the number of queries that the inputs are from.
    """

    def __init__(self) -> None:
        self.queries = 0
        self._sums: dict[str, F32] = {}
        self._counts: dict[str, int] = {}
        self._buffers: dict[str, list[F32]] = {}

    def add(self, name: str, inputs: F32) -> None:
        """Adds inputs, (inputs, columns), of a matrix by its name in the checkpoint."""
        if find_representative(name) != name or inputs.shape[1] > MAX_COLUMNS:
            return
        buffer = self._buffers.setdefault(name, [])
        buffer.append(inputs)
        if sum(map(len, buffer)) >= BUFFERED_INPUTS:
            self._flush(name)

    def __contains__(self, name: str) -> bool:
        name = find_representative(name)
        return name in self._counts or name in self._buffers

    def get_sum(self, name: str) -> tuple[F32, int]:
        """Returns the sum of x xT, (columns, columns), and the number of inputs x.

        Raises:
            ConversionError: the inputs or their squares are not finite.
        """
        name = find_representative(name)
        self._flush(name)
        total = self._sums[name]
        if not np.isfinite(total).all():
            raise ConversionError(
                f"the inputs of {name} are not finite over the calibration queries: "
                "convert without calibration"
            )
        return total, self._counts[name]

    def _flush(self, name: str) -> None:
        if buffer := self._buffers.pop(name, None):
            inputs = np.concatenate(buffer)
            products = inputs.T @ inputs
            if name in self._sums:
                self._sums[name] += products
            else:
                self._sums[name] = products
            self._counts[name] = self._counts.get(name, 0) + len(inputs)


def find_representative(name: str) -> str:
    """Returns the name of the matrix that stands for all matrices with the same inputs."""
    name = re.sub(r"SelfAttention\.[kv]\.", "SelfAttention.q.", name)
    name = re.sub(r"wi_1\.weight$", "wi_0.weight", name)
    return re.sub(r"\.\d+(\.layer\.1\.EncDecAttention)\.[kv]\.", r".0\1.k.", name)


def measure_moments(
    reference: Reference,
    queries: Sequence[list[int]],
    suppressed_ids: Collection[int],
    *,
    progress: bool = True,
) -> SecondMoments:
    """Measures the moments while the reference encodes and answers each query.

    Args:
        reference: the model.
        queries: the token ids of each query.
        suppressed_ids: ids that answers must not contain.
        progress: show a progress bar.
    """
    moments = SecondMoments()
    reference.observer = moments.add
    for ids in tqdm(queries, desc="calibrating", unit=" queries", disable=not progress):
        reference.decode_greedily(ids, DECODER_STEPS, suppressed_ids)
        moments.queries += 1
    reference.observer = None
    return moments
