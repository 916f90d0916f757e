"""What a backend does: token ids in, logits out; no text, no sampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


class BackendError(Exception):
    """A native call said no, or would have; the job fails, the worker goes on."""


class Backend(Protocol):
    """Decodes up to `rows` sequences at once, over up to `inputs` encoder inputs.

    Every length, id and state is checked by the implementation before a native call: a failed
    assertion there ends the process.
    """

    name: str
    kernels: str
    """Whose multiply the weights: told to people."""
    rows: int
    inputs: int
    n_vocab: int
    max_input_tokens: int
    max_tokens: int

    def encode(self, row: int, ids: Sequence[int]) -> None:
        """Runs the encoder over ids; the row is then open, at position 0."""
        ...

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> list[F32]:
        """Feeds one decoder input to each row.

        Returns:
            Calibrated logits of each, (n_vocab,); valid until the next call. All NaN where the
            model's numbers overflow on that row's input; others are not touched by that.
        """
        ...

    def extend(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[F32]:
        """Feeds several decoder inputs to each row, as many to each.

        Returns:
            As `step`, after each of them: (tokens, n_vocab) of each row.
        """
        ...

    def rewind(self, row: int, position: int) -> None:
        """Forgets what a row decoded from a position on."""
        ...

    def reorder(self, rows: Sequence[int], parents: Sequence[int]) -> None:
        """Makes each row go on from what its parent has decoded, over its parent's input.

        Rows that were not open are now; parents are meant as they were before the call.
        """
        ...

    def release(self, row: int) -> None:
        """Frees what the row holds."""
        ...


def check_step(
    backend: Backend,
    position: Mapping[int, int],
    rows: Sequence[int],
    tokens: Sequence[Sequence[int]],
) -> int:
    """Refuses a step that would end the process; how many tokens each row gets.

    Args:
        backend: that is asked.
        position: of each open row: tokens decoded so far.
        rows: of the step.
        tokens: for each of them.

    Raises:
        BackendError: says what is wrong.
    """
    counts = {len(values) for values in tokens}
    if not rows or len(rows) != len(tokens) or len(set(rows)) != len(rows) or len(counts) != 1:
        raise BackendError("expected distinct rows, with as many tokens for each")
    (count,) = counts
    for row, values in zip(rows, tokens, strict=True):
        if row not in position:
            raise BackendError(f"row {row}: step before encode")
        if count < 1 or position[row] + count > backend.max_tokens:
            raise BackendError(f"row {row}: more than {backend.max_tokens} tokens")
        check_ids(backend, values)
    return count


def check_row(backend: Backend, row: int) -> None:
    """Refuses a row that there isn't."""
    if not 0 <= row < backend.rows:
        raise BackendError(f"row {row} is not in 0..{backend.rows - 1}")


def check_ids(backend: Backend, ids: Sequence[int]) -> None:
    """Refuses ids outside the vocabulary."""
    for token in ids:
        if not 0 <= token < backend.n_vocab:
            raise BackendError(f"token id {token} is not in 0..{backend.n_vocab - 1}")


def spoil(logits: F32) -> bool:
    """Makes a row's logits NaN throughout if any of them is not finite, so that one look tells.

    Returns:
        Whether there was one.
    """
    if math.isfinite(logits.max()) and math.isfinite(logits.min()):  # a sum takes twice as long
        return False
    logits[:] = np.nan
    return True


def is_spoilt(logits: F32) -> bool:
    """Whether a row's logits are NaN."""
    return math.isnan(logits.flat[0])
