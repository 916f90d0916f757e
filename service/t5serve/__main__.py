"""The program `t5serve`, also as `python -m t5serve`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from t5gguf.command_line import INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status. Ctrl-C ends it quietly from the beginning."""
    try:
        from t5serve.program import main as run  # noqa: PLC0415 - loading takes up to a second
    except KeyboardInterrupt:
        return INTERRUPTED
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
