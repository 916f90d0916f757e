"""What a backend does: token ids in, logits out; no text, no sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


class BackendError(Exception):
    """A native call said no; the job fails, the worker goes on."""


class Backend(Protocol):
    """Decodes up to `capacity` rows, each over an encoder input of its own.

    Every length, id and state is checked by the implementation before a native call: a failed
    assertion there ends the process.
    """

    capacity: int
    n_vocab: int
    max_input_tokens: int
    max_tokens: int

    def encode(self, row: int, ids: Sequence[int]) -> None:
        """Runs the encoder over ids; the row then starts to decode at position 0."""
        ...

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> F32:
        """Feeds one decoder input to each row.

        Returns:
            Calibrated logits, F32 (len(rows), n_vocab); valid until the next call.
        """
        ...

    def release(self, row: int) -> None:
        """Frees what the row holds."""
        ...
