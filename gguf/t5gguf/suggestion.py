"""Suggests a name for one that is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: str, names: Iterable[str]) -> str:
    """Returns a question for the nearest name, or the list of names if none is near."""
    known = list(names)
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.8)
    return f"did you mean {nearest[0]}?" if nearest else f"there are: {', '.join(known)}"
