"""Programs that some tests need beside Python."""

from __future__ import annotations

import os
import shutil

import pytest


def require_program(name: str, package: str) -> str:
    """Returns the path of a program; skips the test without it, or fails it in CI.

    Args:
        name: the program.
        package: the package of Debian that has it.
    """
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed (apt-get install {package})"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path
