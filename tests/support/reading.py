"""Reads values from JSON by paths, as search engines do."""

from __future__ import annotations

import re
from typing import Any

STEP = re.compile(r"\.(\w+)|\[(\d+|\*)\]")


def read_json_path(document: Any, path: str) -> list[Any]:
    """Returns the values at a path such as `$.list[*].field` or `$.list[0].field`."""
    assert path.startswith("$")
    assert STEP.sub("", path) == "$"
    values = [document]
    for name, index in STEP.findall(path):
        if name:
            values = [value[name] for value in values]
        elif index == "*":
            values = [item for value in values for item in value]
        else:
            values = [value[int(index)] for value in values]
    return values
