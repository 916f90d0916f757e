"""Programs that some tests need beside Python."""

from __future__ import annotations

import shutil

import pytest


def require_program(name: str, package: str) -> str:
    """Returns the path of a program; skips the test without it.

    Args:
        name: the program.
        package: the package of Debian that has it.
    """
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (apt-get install {package})")
    return path
