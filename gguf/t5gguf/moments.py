"""The second moments E[x xT] of every matrix's inputs x, over real queries in the reference."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np
from tqdm import tqdm

from t5gguf.checkpoint import F32
from t5gguf.errors import ConversionError
from t5gguf.reference import Reference

TOKENS = 16  # decoder steps a query, along the reference's own greedy path
WIDEST = 8192  # columns: 256 MB of moments; T5-3B's and 11B's ffn_down are wider
WAITING = 128  # inputs that are kept to be multiplied at once


class Moments:
    """The sum of x xT over all inputs x of a matrix, and their number; one for equal inputs.

    F32, so 4 x columns^2 bytes an input: 31 MB for a T5 of d_model 256 and 4 + 2 layers, 1.1 GB for
    t5-base, 4 GB for t5-large. A matrix of more than `WIDEST` columns has none.
    """

    def __init__(self) -> None:
        self.queries = 0
        self._sums: dict[str, F32] = {}
        self._counts: dict[str, int] = {}
        self._waiting: dict[str, list[F32]] = {}

    def add(self, name: str, inputs: F32) -> None:
        """Takes a matrix's inputs, (inputs, columns), by its name in the checkpoint."""
        if shared(name) != name or inputs.shape[1] > WIDEST:
            return
        waiting = self._waiting.setdefault(name, [])
        waiting.append(inputs)
        if sum(map(len, waiting)) >= WAITING:
            self._flush(name)

    def __contains__(self, name: str) -> bool:
        return shared(name) in self._counts or shared(name) in self._waiting

    def sums(self, name: str) -> tuple[F32, int]:
        """The sum of x xT, (columns, columns), and how many inputs it is of.

        Raises:
            ConversionError: the inputs are not finite, or their squares.
        """
        name = shared(name)
        self._flush(name)
        total = self._sums[name]
        if not np.isfinite(total).all():
            raise ConversionError(
                f"the inputs of {name} are not finite over the calibration queries: "
                "convert without calibration"
            )
        return total, self._counts[name]

    def _flush(self, name: str) -> None:
        if waiting := self._waiting.pop(name, None):
            inputs = np.concatenate(waiting)
            products = inputs.T @ inputs
            if name in self._sums:
                self._sums[name] += products
            else:
                self._sums[name] = products
            self._counts[name] = self._counts.get(name, 0) + len(inputs)


def shared(name: str) -> str:
    """The matrix, by its name in the checkpoint, whose inputs are the same as that one's."""
    name = re.sub(r"SelfAttention\.[kv]\.", "SelfAttention.q.", name)
    name = re.sub(r"wi_1\.weight$", "wi_0.weight", name)
    return re.sub(r"\.\d+(\.layer\.1\.EncDecAttention)\.[kv]\.", r".0\1.k.", name)


def measure(
    reference: Reference,
    queries: Sequence[list[int]],
    suppressed: Collection[int],
    *,
    progress: bool = True,
) -> Moments:
    """The moments over the reference's encoding of each query's ids, and its answer to it."""
    moments = Moments()
    reference.observe = moments.add
    for ids in tqdm(queries, desc="calibrating", unit=" queries", disable=not progress):
        reference.greedy(ids, TOKENS, suppressed)
        moments.queries += 1
    reference.observe = None
    return moments
