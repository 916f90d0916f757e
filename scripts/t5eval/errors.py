"""What an evaluation can't do."""

from __future__ import annotations


class EvaluationError(Exception):
    """A file, a model or an option that can't be used; the message says why."""
