"""The Python interpreter of each group of candidates.

Peers whose packages exclude each other have environments of their own: `--python GROUP=PATH` names
an environment's interpreter, which converts that peer's files and runs its processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from t5bench import environment
from t5bench.errors import BenchError

PACKAGES = {
    "t5serve": ("llama-cpp-python", "numpy"),
    "ctranslate2": ("ctranslate2", "torch", "transformers"),
    "onnxruntime": ("onnxruntime", "optimum-onnx", "torch", "transformers"),
    "openvino": ("openvino", "optimum-intel", "nncf", "torch", "transformers"),
    "pytorch": ("torch", "transformers"),
}
"""The distributions that a group needs."""
EXTRAS = {"openvino": "bench-openvino"}
"""The extras of pyproject.toml that install them, if not `bench`."""
QUERY = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = version(name)
    except PackageNotFoundError:
        versions[name] = None
print(json.dumps({"python": platform.python_version(), "versions": versions}))
"""


class Interpreter:
    """The interpreter of one group.

    Attributes:
        group: The group, a key of `PACKAGES`.
        path: The interpreter.
    """

    def __init__(self, group: str, path: str = sys.executable) -> None:
        self.group = group
        self.path = path

    @cached_property
    def description(self) -> dict[str, Any]:
        """Returns `python`, its version, and `versions` of the group's packages; None: missing.

        Raises:
            BenchError: The interpreter does not run.
        """
        try:
            answer = subprocess.run(
                [self.path, "-c", QUERY, *PACKAGES[self.group]],
                env=environment.extend_environment({}),
                check=True,
                capture_output=True,
                text=True,
            )
        except OSError as error:
            raise BenchError(f"--python {self.group}={self.path}: {error.strerror}") from None
        except subprocess.CalledProcessError as error:
            raise BenchError(f"--python {self.group}={self.path}: {error.stderr[-500:]}") from None
        description: dict[str, Any] = json.loads(answer.stdout)
        return description

    @property
    def advice(self) -> str | None:
        """Returns which packages are missing and how to install them; None if none is missing."""
        missing = [name for name, version in self.description["versions"].items() if not version]
        if not missing:
            return None
        extra = EXTRAS.get(self.group)
        place = f", in an environment of its own: --python {self.group}=PATH" if extra else ""
        return f"{', '.join(missing)} not installed (extra `{extra or 'bench'}`{place})"


def find_interpreters(named: Mapping[str, str]) -> dict[str, Interpreter]:
    """Returns the interpreter of each group: the named one, or the one that runs this process."""
    return {group: Interpreter(group, named.get(group, sys.executable)) for group in PACKAGES}


def parse_assignment(text: str) -> tuple[str, str]:
    """Parses GROUP=PATH of the command line.

    Raises:
        ValueError: The text is no assignment, or the group has no interpreter to choose.
    """
    group, separator, path = text.partition("=")
    if not separator or group not in PACKAGES or group == "t5serve":
        raise ValueError(text)
    return group, path
