"""constraints.txt and requirements.txt against the bounds in pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OTHERS = {"bench", "evaluate", "train"}
"""Extras of other versions."""
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
Pins = dict[str, list[Requirement]]


def read_pins(name: str) -> Pins:
    """Returns the lines of a file by package; a version may hold on some systems only."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"\s*\\\n\s+--hash=sha256:[0-9a-f]{64}", "", text)
    pins: Pins = defaultdict(list)
    for line in text.splitlines():
        if not line.startswith("#"):
            pin = Requirement(line)
            pins[canonicalize_name(pin.name)].append(pin)
    return pins


CONSTRAINTS = read_pins("constraints.txt")
REQUIREMENTS = read_pins("requirements.txt")


def pinned_version(pins: Pins, name: str, environment: Mapping[str, str]) -> str | None:
    """Returns the version of a package there; None: it has none."""
    found = [
        pin.specifier
        for pin in pins.get(canonicalize_name(name), [])
        if pin.marker is None or pin.marker.evaluate(dict(environment))
    ]
    assert len(found) <= 1
    if not found:
        return None
    (specifier,) = found[0]
    assert specifier.operator == "=="
    return specifier.version


def environment_of(python: str) -> dict[str, str]:
    """Returns what markers see on Linux with this Python."""
    here = {name: str(value) for name, value in default_environment().items()}
    return here | {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }


def declared() -> list[Requirement]:
    """Returns what the project needs, with all extras of these versions."""
    of_extras = [line for name in EXTRAS.keys() - OTHERS for line in EXTRAS[name]]
    return [Requirement(line) for line in (*PROJECT["dependencies"], *of_extras)]


@pytest.mark.parametrize("python", PYTHONS)
def test_each_dependency_is_pinned_within_its_bounds(python: str) -> None:
    """Whichever Python it is; `scripts/constraints` renews a file that is not."""
    environment = environment_of(python)
    for needed in declared():
        version = pinned_version(CONSTRAINTS, needed.name, environment)
        assert version is not None, needed.name
        assert needed.specifier.contains(version), f"{needed}: {version}"


def needs(name: str) -> Iterator[str]:
    """Yields the packages that an installed package needs here, without its extras."""
    for line in metadata.requires(name) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def test_what_those_need_is_pinned_too() -> None:
    """As the metadata of the installed packages say."""
    waiting: set[str] = {canonicalize_name(needed.name) for needed in declared()}
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        try:
            waiting |= {*needs(name)} - seen
        except metadata.PackageNotFoundError:
            continue  # of an extra that is not installed
    here = {key: str(value) for key, value in default_environment().items()}
    missing = [name for name in seen if pinned_version(CONSTRAINTS, name, here) is None]
    assert len(seen) > 100
    assert missing == []


def test_requirements_are_the_service_s_with_the_same_versions() -> None:
    """Each line has digests; every dependency is there, and nothing of an extra's."""
    for name, pins in REQUIREMENTS.items():
        versions = {str(pin.specifier) for pin in CONSTRAINTS[name]}
        assert {str(pin.specifier) for pin in pins} <= versions
    needed = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert needed <= {*REQUIREMENTS}
    assert not {"pytest", "torch", "pyarrow"} & {*REQUIREMENTS}
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for pin in re.findall(r"^[a-z].*(?:\n    .*)*", text, re.MULTILINE):
        assert "--hash=sha256:" in pin


@pytest.mark.parametrize("name", ["constraints.txt", "requirements.txt"])
def test_nothing_of_the_machine_that_made_them(name: str) -> None:
    """No index, no link, no path."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert not [line for line in pins if re.search(r"://|@|/|^-|\.whl", line)]
