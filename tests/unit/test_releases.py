"""What a release needs: one version, its changelog, workflows that call our scripts."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from t5serve import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [
    classifier.rpartition(" ")[2]
    for classifier in PROJECT["classifiers"]
    if classifier.startswith("Programming Language :: Python ::")
]


def workflow(name: str) -> Any:
    return yaml.safe_load((ROOT / f".github/workflows/{name}.yaml").read_text(encoding="utf-8"))


def changelog(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts" / "changelog"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_changelog_begins_with_the_version() -> None:
    """Its first section is the package's version, and that section is the release's text."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version, *_ = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert version == __version__
    ran = changelog(version)
    assert ran.returncode == 0
    assert ran.stdout.strip() in text
    assert "### Upgrading" in ran.stdout
    assert not re.search(r"^## ", ran.stdout, re.MULTILINE)


def test_a_tag_of_another_version_is_no_release() -> None:
    ran = changelog("9.9.9")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"the package's version is {__version__}, not 9.9.9" in ran.stderr


def test_tests_run_on_every_python() -> None:
    """Each that the package names, and scripts/test is all that is run."""
    (job,) = workflow("test")["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert [step["run"] for step in job["steps"] if "run" in step] == ["scripts/test"]


@pytest.mark.parametrize("name", ["test", "release"])
def test_workflows_may_do_little(name: str) -> None:
    """By default a job reads the repository; each ends by itself."""
    described = workflow(name)
    assert described["permissions"] == {"contents": "read"}
    for job in described["jobs"].values():
        assert "uses" in job or job["timeout-minutes"] <= 120


def test_the_release_waits_for_all() -> None:
    """Nothing is published before the tests passed and every package is there."""
    jobs = workflow("release")["jobs"]
    assert set(jobs["release"]["needs"]) == set(jobs) - {"version", "release"}
    assert all(job["needs"] == "version" for name, job in jobs.items() if name in {"test", "sdist"})


def test_hooks_are_checks_of_lint() -> None:
    """Each hook runs a tool of this environment that scripts/lint runs too."""
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (local,) = yaml.safe_load(text)["repos"]
    lint = (ROOT / "scripts" / "lint").read_text(encoding="utf-8")
    assert local["repo"] == "local"
    assert len(local["hooks"]) == 5
    for hook in local["hooks"]:
        (tool,) = re.findall(r"\.venv/bin/(\S+)", hook["entry"])
        assert re.search(rf"^(PYTHONPATH=\S+ )?{tool}\b", lint, re.MULTILINE), tool
        assert hook["language"] == "system"
