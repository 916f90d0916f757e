"""What docs/operations.md says, against the code; its commands that need no engine are run."""

from __future__ import annotations

import configparser
import re
import signal
import subprocess
from pathlib import Path

import pytest

from support.serving import Server, start, stop
from t5serve.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
COMPOSE = (ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8")
URL = "http://127.0.0.1:8000"


READY = 't5serve_ready{model="tiny-t5"} 1.0'


def commands(marker: str) -> list[str]:
    """The lines of the one block of commands that has the marker."""
    (block,) = [text for kind, text in BLOCKS if kind == "sh" and marker in text]
    return str(block).splitlines()


def shell(command: str, directory: Path) -> str:
    ran = subprocess.run(
        ["/bin/sh", "-c", command], cwd=directory, capture_output=True, text=True, check=True
    )
    return ran.stdout


@pytest.mark.parametrize(
    ("path", "answer"), [("healthz", "ok"), ("readyz", "ready"), ("metrics", READY)]
)
def test_probes(server: Server, tmp_path: Path, path: str, answer: str) -> None:
    """Each probe is answered as it says."""
    (command,) = [line for line in commands("readyz") if path in line]
    assert answer in shell(command.replace(URL, server.url), tmp_path)


def test_keys(tmp_path: Path) -> None:
    """A key made as shown opens what a request without it does not get."""
    make, protect, serve = commands("secrets")
    shell(f"{make}\n{protect}", tmp_path)
    assert serve == "T5SERVE_API_KEYS_FILE=keys ./scripts/serve"
    server = start(api_keys_file=str(tmp_path / "keys"))
    try:
        server.wait_until_ready()
        (ask,) = commands("head -n 1 keys")
        assert READY in shell(ask.replace(URL, server.url), tmp_path)
        with server.client() as client:
            assert client.get("/metrics").status_code == 401
    finally:
        stop(server)


def test_end_of_the_service() -> None:
    """SIGTERM ends it by that signal, which supervisors do not take for a failure."""
    own = start()
    own.wait_until_ready()
    stop(own)
    assert own.process.returncode == -signal.SIGTERM


def test_names() -> None:
    """Each variable is a setting, or one of the compose file's own; each file named is there."""
    variables = set(re.findall(r"\bT5SERVE_([A-Z_]+)", PAGE))
    compose = set(re.findall(r"\$\{T5SERVE_(\w+)", COMPOSE))
    settings = {name.upper() for name in Settings.model_fields}
    assert variables <= settings | compose
    assert compose <= variables | settings | {"CPU"}
    for name in re.findall(r"\b((?:docker|scripts)/[\w./]*\w)", PAGE):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / name).exists(), name


def test_commands_of_trouble() -> None:
    """Each command on the page of what was tried is there, with the options that it shows."""
    page = (ROOT / "docs" / "resilience.md").read_text(encoding="utf-8")
    commands = re.findall(r"`(?:\.venv/bin/python )?(tests/chaos/\w+\.py)([^`]*)`", page)
    assert {script for script, _ in commands} >= {
        f"tests/chaos/{name}.py" for name in ("deaths", "nasty", "neighbours", "overload")
    }
    for script, arguments in commands:
        source = (ROOT / script).read_text(encoding="utf-8")
        assert all(f'"{option}"' in source for option in re.findall(r"--\w+", arguments)), script


def test_build_arguments() -> None:
    """The table has the Dockerfile's arguments."""
    there = re.findall(
        r"^ARG (\w+)", (ROOT / "docker/Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(re.findall(r"^\| `([A-Z]+)` \|", PAGE, re.MULTILINE)) == set(there)


def test_unit() -> None:
    """The unit starts the command that there is, with settings that there are, and waits for it."""
    (text,) = [text for kind, text in BLOCKS if kind == "ini"]
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert service["ExecStart"].endswith("/.venv/bin/t5serve serve")
    assert int(service["TimeoutStopSec"]) > Settings.model_fields["drain_seconds"].default + 5
    variables = re.findall(r"^Environment=T5SERVE_(\w+)=", text, re.MULTILINE)
    assert variables
    assert {name.lower() for name in variables} <= set(Settings.model_fields)
