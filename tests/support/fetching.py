"""The command `t5gguf fetch`, run in a directory of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from t5gguf import __main__ as t5gguf

REPO = "someone/a-t5"
MODEL = "model.safetensors"


@dataclass
class Workspace:
    """A directory with the models and the lock file, and the output of the last command."""

    path: Path
    capsys: pytest.CaptureFixture[str]
    out: str = ""

    @property
    def model(self) -> Path:
        return self.path / "models" / REPO.replace("/", "--")

    @property
    def lock(self) -> Path:
        return self.path / "lock.json"

    def fetch(self, *arguments: str) -> str:
        """Runs the command; returns its one-line error, or an empty text if it succeeds."""
        status = t5gguf.main(["fetch", *arguments, "--quiet", "--lock", str(self.lock)])
        printed = self.capsys.readouterr()
        self.out = printed.out
        assert status == bool(printed.err)
        if not status:
            return ""
        (line,) = printed.err.splitlines()
        return line.removeprefix("t5gguf: ")

    def files(self) -> dict[str, bytes]:
        """The contents of the model's files by name; hidden parts are left out."""
        paths = self.model.iterdir() if self.model.exists() else ()
        return {path.name: path.read_bytes() for path in paths if path.name[0] != "."}

    def parts(self) -> list[Path]:
        return sorted(self.model.glob(".*"))

    def pin(self) -> dict[str, object]:
        pins: dict[str, dict[str, object]] = json.loads(self.lock.read_bytes())
        return pins[REPO]
