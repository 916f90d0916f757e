"""Errors of an evaluation."""

from __future__ import annotations


class EvaluationError(Exception):
    """A file, a model or an option can't be used; the message says why."""
