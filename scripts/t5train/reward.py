"""Selects, of a model's own answers, those that the model should learn (expert iteration).

The service's guards and the rules of screening judge the beams, most likely first. A request whose
best beam has a fault is worth the most: there the model learns to prefer another of its answers.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from t5train.screening import SEARCH, find_fault
from t5train.searches import SEPARATOR, Row
from t5train.shards import Request, Written
from t5train.words import normal

CONFIRMED, CORRECTED = "confirmed", "corrected"  # origins


def select_row(request: Request, beams: Sequence[str], held_out: Container[str]) -> Row | None:
    """Returns the likeliest beam without a fault as a row; None if all beams have one.

    Args:
        request: What the model was asked.
        beams: Its answers, the likeliest first.
        held_out: Requests that are for measuring, without case and punctuation.
    """
    for rank, beam in enumerate(beams):
        targets = _split(request.task, beam)
        written = Written(
            request.task, request.source, targets, request.origin, 0, 0.0, 0, is_ended=True
        )
        if find_fault(written, held_out) is None and not _is_copied_question(request, targets):
            origin = CORRECTED if rank else CONFIRMED
            return Row(request.task, request.source, targets, f"{origin}/{request.origin}")
    return None


def _split(task: str, beam: str) -> tuple[str, ...]:
    parts = beam.split(SEPARATOR) if task == SEARCH else [beam]
    return tuple(part.strip() for part in parts if part.strip())


def _is_copied_question(request: Request, targets: Sequence[str]) -> bool:
    """Whether a question comes back as its own search: no fault, but nothing to learn."""
    is_copy = len(targets) == 1 and normal(targets[0]) == normal(request.source)
    return request.task == SEARCH and is_copy and request.source.endswith("?")
