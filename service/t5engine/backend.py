"""The protocol of backends: token ids in, logits out; no text, no sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


class BackendError(Exception):
    """A native call failed, or would fail. The job fails; the worker goes on."""


class Backend(Protocol):
    """Decodes up to `rows` sequences at once, over up to `inputs` encoder inputs.

    Implementations check every length, id and state before a native call, because a failed
    assertion in native code ends the process.
    """

    name: str
    kernels: str
    """Names the kernels that multiply the weights, for the model's description."""
    rows: int
    inputs: int
    n_vocab: int
    max_input_tokens: int
    max_tokens: int

    def encode(self, row: int, ids: Sequence[int], *, is_single_step: bool = False) -> None:
        """Runs the encoder on ids, and opens the row at position 0.

        Args:
            row: the row.
            ids: the input.
            is_single_step: whether the row will take one step only, apart from rows that take
                more. A backend may prepare less then.
        """
        ...

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> list[F32]:
        """Feeds one decoder input to each row.

        Returns:
            Calibrated logits per row, (n_vocab,), valid until the next call. The logits of a row
            are all NaN if the model's numbers overflow on its input; other rows are unaffected.
        """
        ...

    def extend(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[F32]:
        """Feeds several decoder inputs to each row, the same number to each.

        Returns:
            Logits as from `step`, after each input: (tokens, n_vocab) per row.
        """
        ...

    def rewind(self, row: int, position: int) -> None:
        """Discards what a row has decoded from a position on."""
        ...

    def reorder(self, rows: Sequence[int], parents: Sequence[int]) -> None:
        """Makes each row continue from what its parent has decoded, over its parent's input.

        Opens rows that were not open. Parents count in their state before the call.
        """
        ...

    def release(self, row: int) -> None:
        """Closes a row and frees what it holds."""
        ...


def check_step(
    backend: Backend,
    positions: Mapping[int, int],
    rows: Sequence[int],
    tokens: Sequence[Sequence[int]],
) -> int:
    """Checks a step that would end the process if it were wrong.

    Args:
        backend: the backend that runs the step.
        positions: tokens decoded so far, by open row.
        rows: rows of the step.
        tokens: decoder inputs of each row.

    Returns:
        The number of tokens per row.

    Raises:
        BackendError: the step is wrong; the message says why.
    """
    counts = {len(row_tokens) for row_tokens in tokens}
    if not rows or len(rows) != len(tokens) or len(set(rows)) != len(rows) or len(counts) != 1:
        raise BackendError("expected distinct rows, with as many tokens for each")
    (count,) = counts
    for row, row_tokens in zip(rows, tokens, strict=True):
        if row not in positions:
            raise BackendError(f"row {row}: step before encode")
        if count < 1 or positions[row] + count > backend.max_tokens:
            raise BackendError(f"row {row}: more than {backend.max_tokens} tokens")
        check_ids(backend, row_tokens)
    return count


def check_row(backend: Backend, row: int) -> None:
    """Raises BackendError if the backend has no such row."""
    if not 0 <= row < backend.rows:
        raise BackendError(f"row {row} is not in 0..{backend.rows - 1}")


def check_ids(backend: Backend, ids: Sequence[int]) -> None:
    """Raises BackendError for ids outside the vocabulary."""
    for token in ids:
        if not 0 <= token < backend.n_vocab:
            raise BackendError(f"token id {token} is not in 0..{backend.n_vocab - 1}")


def poison_if_not_finite(logits: F32) -> bool:
    """Sets all of a row's logits to NaN if any of them is not finite, for `is_poisoned`.

    Returns:
        Whether a logit was not finite.
    """
    if is_finite(logits):
        return False
    logits[:] = np.nan
    return True


def is_finite(logits: F32) -> bool:
    """Whether all logits are finite, of one row or of several."""
    return math.isfinite(logits.max()) and math.isfinite(logits.min())  # a sum takes twice as long


def is_poisoned(logits: F32) -> bool:
    """Whether a row's logits are NaN. Looks at the first one only."""
    return math.isnan(logits.flat[0])
