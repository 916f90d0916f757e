"""The examples of every document: each is run, or, where it needs torch or a hub, read closely."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import tiny
from support.serving import Server

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *ROOT.glob("gguf/*.md"), *ROOT.glob("docs/**/*.md")]
}
URL = "http://127.0.0.1:8000"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
NEED_AN_EXTRA = {
    "compose.py",
    "distil.py",
    "evaluate.py",
    "mix.py",
    "prepare.py",
    "progress.py",
    "quality.py",
    "reward.py",
    "train.py",
}
NEED_THE_HUB = {"fetch.py"}
LONG_BENCHMARKS = {"peers", "tables", "throughput"}
NEED_A_PACKAGE = {"adapters.pyterrier": "pyterrier", ".parquet": "pyarrow", "import ray": "ray"}
LOAD_A_MODEL = ("Reformulator(", "T5(")
ELSEWHERE = {  # test_docs.py, test_kubernetes_page.py .. test_search_engines.py; needs root
    "docs/api.md",
    "docs/kubernetes.md",
    "docs/operations.md",
    "docs/resilience.md",
    "docs/search-engines.md",
}


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    for page, text in PAGES.items():
        for language, code in FENCE.findall(text):
            if language in languages and page not in ELSEWHERE:
                yield page, code


def lines() -> Iterator[tuple[str, str]]:
    """Every command line of the shell blocks, continued lines joined."""
    for page, code in blocks("sh"):
        for line in code.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+# .*", "", line).strip()
            if command:
                yield page, command


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would be: a checkout, with a checkpoint and a file of queries."""
    directory = tmp_path_factory.mktemp("checkout")
    for name in ("scripts", "gguf", "service"):
        (directory / name).symlink_to(ROOT / name)
    (directory / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "t5gguf", "t5serve"):
        program = directory / ".venv" / "bin" / name
        start = "" if name == "python" else f" -m {name}"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{start} "$@"\n')
        program.chmod(0o755)
    tiny.build("tied_relu", directory / "path" / "to" / "checkpoint")
    (directory / "run").mkdir()
    (directory / "run" / "checkpoint").symlink_to(directory / "path" / "to" / "checkpoint")
    queries = "".join(f"{index}\thow many legs has a dog {index}\n" for index in range(20))
    (directory / "queries.tsv").write_text(queries)
    (directory / "held-out.txt").write_text("\n".join(tiny.QUERIES.read_text().splitlines()[:8]))
    (directory / "documents.txt").write_text(tiny.QUERIES.read_text())
    (directory / "domain.txt").write_text(tiny.QUERIES.read_text())
    return directory


def run(command: list[str], place: Path) -> str:
    ran = subprocess.run(
        command,
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PATH": f"{place / '.venv/bin'}:{os.environ['PATH']}"},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(("page", "command"), list(lines()))
def test_commands(server: Server, place: Path, page: str, command: str) -> None:
    """One that serves, tests or installs is there to be run; the others are run, or read."""
    words = shlex.split(command)
    script = next(
        (Path(word) for word in words if word.startswith(("scripts/", "./scripts/"))), None
    )
    if script is not None and script.suffix == ".py":
        assert (ROOT / script).is_file()
        if script.name in NEED_AN_EXTRA | NEED_THE_HUB or LONG_BENCHMARKS & set(words):
            assert_options_exist(words, script)
            return
    elif script is not None:
        assert os.access(ROOT / script, os.X_OK)
        return
    if "pip" in words:
        named = re.findall(r"\[([\w,]+)\]", command)
        assert named, page
        assert set(named[0].split(",")) <= EXTRAS.keys()
        return
    output = run(["/bin/sh", "-c", command.replace(URL, server.url)], place)
    assert output or ">" in words or {"--out", "--output"} & set(words)


def assert_options_exist(words: list[str], script: Path) -> None:
    """The script's own source, or that of its package, has every option that is given to it."""
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in [
            ROOT / script,
            *ROOT.glob("scripts/t5*/*.py"),
            *ROOT.glob("gguf/t5gguf/**/*.py"),
        ]
    )
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert all(f'"{option}"' in sources for option in options)


@pytest.mark.parametrize(("page", "code"), list(blocks("python")))
def test_python(server: Server, place: Path, page: str, code: str) -> None:
    """Each program runs as it stands, against the service or a model, and prints something."""
    assert URL in code or any(start in code for start in LOAD_A_MODEL), page
    for text, package in NEED_A_PACKAGE.items():
        if text in code:
            pytest.importorskip(package)
    assert run([sys.executable, "-c", code.replace(URL, server.url)], place).strip()
