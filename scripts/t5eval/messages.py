"""What an evaluation sends to a model, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

from t5serve.reformulation.candidates import UnchangedReason
from t5serve.reformulation.options import Options


@dataclass(frozen=True)
class Request:
    """One query, and the options to reformulate it with."""

    query: str
    options: Options


@dataclass(frozen=True)
class Answer:
    """Reformulations, best first; only the query if there is nothing better.

    Attributes:
        fell_back: Whether the model gave no usable output.
        unchanged_reason: Why the query was left alone on purpose; None if it was changed.
        scores: The score of each text; None for the query itself. Empty if not asked for.
    """

    texts: list[str]
    fell_back: bool = False
    unchanged_reason: UnchangedReason | None = None
    scores: list[float | None] = field(default_factory=list)
