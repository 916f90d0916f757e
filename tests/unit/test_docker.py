"""docker/: what the linters and schemas say, and what no linter knows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from t5serve.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
PINNED = re.compile(r"[\w./-]+:v?\d[\w.-]+")


def composed() -> Any:
    """The compose file as it is without any variable set."""
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE))


def run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_dockerfile_lint() -> None:
    """Hadolint finds nothing; its exceptions stand in the file, with their reason."""
    ran = run([Path(sys.executable).parent / "hadolint", DOCKER / "Dockerfile"])
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_compose_schema(tmp_path: Path) -> None:
    """The compose specification's schema accepts it as it is without any variable set."""
    file = tmp_path / "compose.yaml"
    file.write_text(yaml.safe_dump(composed()))
    check = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    ran = run([sys.executable, *check, file])
    assert ran.returncode == 0, ran.stdout


def test_images_are_pinned() -> None:
    """By a tag that has a version; the service's own is built."""
    (base,) = re.findall(r"^ARG BASE=(.+)$", DOCKERFILE, re.MULTILINE)
    stages = re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) <= {"${BASE}", *stages}
    others = [s["image"] for name, s in composed()["services"].items() if name != "t5serve"]
    for image in (base, *others):
        assert PINNED.fullmatch(image), image


def test_what_is_copied_is_there() -> None:
    """Each file that the Dockerfile copies exists, and .dockerignore lets it through."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    names = [name for line in copied for name in line.split()]
    assert "service" in names
    for name in names:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignore


def test_least_privilege() -> None:
    """No container of the compose file can write its root or gain rights, nor be reached from
    another machine.
    """
    for service in composed()["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_cpus_are_the_machines() -> None:
    """Nothing limits the CPUs, and the service chooses its threads: an empty setting is unset."""
    service = composed()["services"]["t5serve"]
    assert service["cpus"] == 0  # docker run --cpus: no limit
    variables = service["environment"]
    assert not variables["T5SERVE_THREADS"]
    assert not variables["T5SERVE_WORKERS"]


def test_mounted_files_are_there() -> None:
    """What the compose file mounts from the checkout; named volumes are declared."""
    compose = composed()
    mounts = [
        mount.split(":") for s in compose["services"].values() for mount in s.get("volumes", [])
    ]
    assert mounts
    for source, *_ in mounts:
        assert source in compose["volumes"] or (DOCKER / source).exists(), source


def test_variables_are_settings() -> None:
    """Each T5SERVE_ variable that a container gets is one of the service's."""
    given = {*composed()["services"]["t5serve"]["environment"]}
    given |= set(re.findall(r"\b(T5SERVE_\w+)=", DOCKERFILE))
    assert len(given) > 3
    assert {name.removeprefix("T5SERVE_").lower() for name in given} <= set(Settings.model_fields)


def test_drain_fits_the_grace() -> None:
    """The service is killed only after it had its time to drain, and to end its workers."""
    needed = Settings.model_fields["drain_seconds"].default + 5
    grace = composed()["services"]["t5serve"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > needed


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that answers so on any path; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


def healthcheck(port: str) -> tuple[int, str]:
    environment = {"T5SERVE_PORT": port}
    command = [sys.executable, str(DOCKER / "healthcheck.py")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return ran.returncode, ran.stderr


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (503, 1)])
def test_healthcheck(status: int, expected: int) -> None:
    """Healthy is what is ready; draining and loading are not."""
    with answering(status) as port:
        code, said = healthcheck(port)
    assert code == expected
    assert ("503" in said) == bool(expected)


def test_healthcheck_without_service() -> None:
    """Nothing listens yet: one line, no traceback."""
    with answering(200) as port:
        pass
    code, said = healthcheck(port)
    assert code == 1
    assert said.startswith("not ready: ")
    assert said.count("\n") == 1


def test_same_healthcheck_everywhere() -> None:
    """The compose file's is the image's, for images in a format that has none."""
    (command,) = re.findall(r"^ +CMD (\[.+healthcheck.+\])$", DOCKERFILE, re.MULTILINE)
    assert composed()["services"]["t5serve"]["healthcheck"]["test"] == ["CMD", *json.loads(command)]
