"""Errors of a benchmark."""

from __future__ import annotations


class BenchError(Exception):
    """A file, a package or a candidate can't be used; the message says why."""
