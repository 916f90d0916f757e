"""`t5serve --version`: the versions that answers depend on."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from t5serve import __version__


class Version(argparse.Action):
    """Prints the versions and ends the program."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        _values: str | Sequence[Any] | None,
        _option_string: str | None = None,
    ) -> None:
        print(describe_versions())
        parser.exit()


def describe_versions() -> str:
    """Returns one line: t5serve, llama-cpp-python, which has llama.cpp, and the kernels.

    A child asks for the kernels: what they are loaded into can be ended by them.
    """
    command = [sys.executable, "-P", "-m", "t5engine.kernels"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    kernels = asked.stdout.strip() or "unknown"
    llama = version("llama-cpp-python")
    return f"t5serve {__version__} (llama-cpp-python {llama}; kernels: {kernels})"
