"""Lets a script show its help without the packages of its extra."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType


class Extra:
    """Surrounds the imports of an extra's packages.

    Args:
        name: the extra in pyproject.toml.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._missing: str | None = None

    def __enter__(self) -> None:
        """Begins the imports."""

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        """Notes a package that is not installed, and ends the imports."""
        if isinstance(error, ModuleNotFoundError):
            self._missing = error.name
        return self._missing is not None

    def require(self) -> None:
        """Ends the program, after its options are read, if a package is missing."""
        if self._missing is not None:
            program = Path(sys.argv[0]).name
            sys.exit(
                f"{program}: {self._missing} is not installed; "
                f"run scripts/install {self._name}, which installs the extra"
            )
