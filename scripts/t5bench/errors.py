"""What a benchmark can't do."""

from __future__ import annotations


class BenchError(Exception):
    """A file, a package or a contestant that can't be used; the message says why."""
