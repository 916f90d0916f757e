"""What a backend does: token ids in, logits or the best token out; no text, no sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


class BackendError(Exception):
    """A native call said no, or would have; the job fails, the worker goes on."""


class Step(NamedTuple):
    """What came out of one decoder step, in the order of the rows that were given.

    Attributes:
        best: each row's most likely token.
        logprobs: the natural logs of those tokens' probabilities.
        logits: gives a row's calibrated logits, F32 (n_vocab,), by its place among the rows given;
            valid until the next call.
    """

    best: npt.NDArray[np.int32]
    logprobs: npt.NDArray[np.float64]
    logits: Callable[[int], F32]


class Backend(Protocol):
    """Decodes up to `capacity` rows, each over an encoder input of its own.

    Every length, id and state is checked by the implementation before a native call: a failed
    assertion there ends the process.
    """

    name: str
    capacity: int
    n_vocab: int
    max_input_tokens: int
    max_tokens: int

    def encode(self, row: int, ids: Sequence[int]) -> None:
        """Runs the encoder over ids; the row then starts to decode at position 0."""
        ...

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> Step:
        """Feeds one decoder input to each row."""
        ...

    def release(self, row: int) -> None:
        """Frees what the row holds."""
        ...
