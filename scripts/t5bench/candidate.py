"""What is compared: a candidate, or a search space of one peer's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from t5bench.runner import Runner

ANY_ISA = "all of the processor's"
"""A candidate that chooses its instruction sets itself."""


@dataclass(frozen=True)
class Candidate:
    """One row of the table.

    Attributes:
        runner: Starts the candidate.
        weight_bytes: Bytes of weights that the candidate reads per token.
        cache_item_bytes: Bytes of one value in its caches of keys and values.
        file_type: The type of its GGUF file, if it has a GGUF file.
        in_process_name: For a candidate over HTTP, the name of the same engine in process.
        instruction_sets: The instruction sets that it may use.
        group: The group, of `interpreters.PACKAGES`.
    """

    runner: Runner
    weight_bytes: int
    cache_item_bytes: int
    file_type: str | None = None
    in_process_name: str | None = None
    instruction_sets: str = ANY_ISA
    group: str = "t5serve"

    @property
    def name(self) -> str:
        """The name in tables."""
        return self.runner.name


@dataclass(frozen=True)
class SearchSpace:
    """The settings of one peer, of which the fastest are compared."""

    name: str
    candidates: Sequence[Candidate]
