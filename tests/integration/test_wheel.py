"""The package as it is released: built, checked, and run away from the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import hub_server, tiny
from support.serving import Server, free_port, stop
from t5serve import __version__

ROOT = Path(__file__).parents[2]
QUERY = "how do i clean a laptop screen"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source distribution and the wheel made from it."""
    out = tmp_path_factory.mktemp("dist")
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [ROOT / "scripts" / "wheel", out]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@dataclass
class Installed:
    """The wheel in an environment of its own, which takes what it needs from this one."""

    bin: Path
    home: Path

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(self.home), **more}

    def run(self, program: str, *arguments: str, **more: str) -> str:
        ran = subprocess.run(
            [program, *arguments],
            cwd=self.home,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("installed")
    venv, home = place / "venv", place / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(venv)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # A line of a .pth file adds a folder to the path, without the .pth files in it: the checkout,
    # which this environment has in one, stays out.
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return Installed(venv / "bin", home)


@pytest.fixture
def service(installed: Installed, tmp_path: Path) -> Iterator[Server]:
    port = free_port()
    log = (tmp_path / "log").open("w+b")
    process = subprocess.Popen(
        [installed.bin / "t5serve", "serve", "--port", str(port)],
        cwd=installed.home,
        env=installed.environment(),
        stderr=log,
    )
    running = Server(process, f"http://127.0.0.1:{port}", log)
    running.wait_until_ready()
    yield running
    stop(running)


def test_one_wheel_serves_every_python(wheel: Path) -> None:
    """Its tags name no Python and no ABI, but a C library that other distributions have too."""
    machine = sysconfig.get_platform().removeprefix("linux-")
    pattern = rf"t5serve-{re.escape(__version__)}-py3-none-manylinux_2_\d+_{machine}\.whl"
    assert re.fullmatch(pattern, wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        (record,) = [name for name in archive.namelist() if name.endswith(".dist-info/WHEEL")]
        tags = re.findall(r"^Tag: (.+)$", archive.read(record).decode(), re.MULTILINE)
    assert tags == [wheel.stem.split("-", 2)[2]]


def test_the_wheel_has_what_the_checkout_has(wheel: Path) -> None:
    """Kernels, the included model, every recipe, the page and the licences; no C sources."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("t5engine/kernels/kernels.so")[:4] == b"\x7fELF"
    recipes = {f"t5gguf/bundled/recipes/{path.name}" for path in ROOT.glob("gguf/recipes/*.toml")}
    page = {f"t5serve/page/{path.name}" for path in ROOT.glob("service/t5serve/page/*.*")}
    assert recipes <= names
    assert page <= names
    assert "t5gguf/bundled/models/tiny-t5-Q8_0.gguf" in names
    licences = f"t5serve-{__version__}.dist-info/licenses"
    assert {f"{licences}/LICENSE", f"{licences}/NOTICE"} <= names
    assert not {name for name in names if name.endswith((".c", ".h"))}


def test_the_source_distribution_has_the_tests(dist: Path) -> None:
    """Whoever packages it for a distribution can build and test it."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = set(archive.getnames())
    needed = ("service/t5engine/kernels/scalar.c", "hatch_build.py", "tests/conftest.py", "NOTICE")
    assert {f"t5serve-{__version__}/{name}" for name in needed} <= names


def test_the_service_starts_and_answers(installed: Installed, service: Server) -> None:
    """The README's request, from a folder that is no checkout, with the wheel's own kernels."""
    url = f"{service.url}/v1/reformulate"
    answer = json.loads(installed.run("curl", "-s", url, "-d", json.dumps({"query": QUERY})))
    assert answer["results"][0]["original"] == QUERY
    assert answer["results"][0]["changed"] is True
    worker = service.workers()[0]
    mapped = Path(f"/proc/{worker}/maps").read_text(encoding="utf-8")
    kernels = set(re.findall(r"\S+/kernels\.so$", mapped, re.MULTILINE))
    assert [Path(path).is_relative_to(installed.bin.parent) for path in kernels] == [True]


def test_a_fetched_model_is_served(installed: Installed, tmp_path: Path) -> None:
    """`t5gguf fetch` by a recipe's name, and the name serves what was fetched."""
    with hub_server.serve() as hub:
        source = tiny.build("tied_relu", tmp_path / "source")
        hub.commit("prhegde/t5-query-reformulation-RL", hub_server.of_directory(source))
        settings = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "T5GGUF_MODELS": str(tmp_path / "models"),
        }
        name = "t5-query-reformulation-rl"
        lock = ["--lock", str(tmp_path / "lock.json")]
        fetch = ["fetch", name, "--convert", *lock]
        printed = installed.run(f"{installed.bin}/t5gguf", *fetch, **settings)
    assert "verified" in printed
    ask = ["reformulate", "--model", name, "--seed", "1", "best boots"]
    assert installed.run(f"{installed.bin}/t5serve", *ask, **settings).strip()
