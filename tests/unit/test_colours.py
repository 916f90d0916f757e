"""Whether the log is coloured: no-color.org and bixense.com/clicolors."""

from __future__ import annotations

import io

import pytest

from t5serve.logs import has_colours


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "on_terminal", "in_file"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": "0"}, False, False),  # whatever its value
        ({"NO_COLOR": ""}, True, False),  # unless it is empty
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "1"}, True, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"CLICOLOR_FORCE": "0"}, True, False),
        ({"CLICOLOR_FORCE": ""}, True, False),
        ({"CLICOLOR": "0", "CLICOLOR_FORCE": "1"}, True, True),
        ({"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_variables(environment: dict[str, str], *, on_terminal: bool, in_file: bool) -> None:
    """NO_COLOR comes first, then CLICOLOR_FORCE, then CLICOLOR and the terminal."""
    assert has_colours(Terminal(), environment) == on_terminal
    assert has_colours(io.StringIO(), environment) == in_file
