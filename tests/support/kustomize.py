"""Composes docker/kubernetes in Python as kustomize does, as far as its files need it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

KUBERNETES = Path(__file__).parents[2] / "docker" / "kubernetes"
OVERLAYS = sorted(path.parent for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
OPTIONS = [KUBERNETES / "components" / name for name in ("fetched-model", "ingress")]
"""The components that no overlay has by itself."""
Manifest = dict[str, Any]


def read_manifests(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def write_kustomization(
    directory: Path, resources: Iterable[Path], components: Iterable[Path]
) -> Path:
    """Writes a kustomization outside of the checkout, like a user's own; returns its directory."""
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(path, directory) for path in resources],
        "components": [os.path.relpath(path, directory) for path in components],
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return directory


def compose_by_kubectl(directory: Path) -> str:
    """Returns what kubectl would apply; skips the test without a kubectl that knows components."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; 1.27 or newer is needed")
    command = [kubectl, "version", "--client", "--output", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    version = json.loads(ran.stdout).get("kustomizeVersion", "none")  # before 1.24: none
    if int(version.removeprefix("v").partition(".")[0].replace("none", "0")) < 5:
        pytest.skip(f"kubectl has kustomize {version}; kubectl 1.27 or newer is needed")
    command = [kubectl, "kustomize", str(directory)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


class Composition:
    """The objects of kustomizations, by kind and name, and the files that they come from.

    Args:
        directories: kustomizations, then components that change their objects.

    Raises:
        AssertionError: a field is unknown here, an object occurs twice, or a patch has no target.
        FileNotFoundError: a file or a directory that is named does not exist.
    """

    def __init__(self, *directories: Path) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.files: set[Path] = set()
        for directory in directories:
            self._add_directory(directory)

    def find_all(self, kind: str) -> list[Manifest]:
        return [manifest for (other, _), manifest in self.objects.items() if other == kind]

    def find(self, kind: str) -> Manifest:
        """Returns the only object of a kind."""
        (manifest,) = self.find_all(kind)
        return manifest

    def _add_directory(self, directory: Path) -> None:
        path = directory / "kustomization.yaml"
        self.files.add(path.resolve())
        (document,) = read_manifests(path)
        unknown = document.keys() - {"apiVersion", "kind", *STEPS}
        assert not unknown, f"{path} has {unknown}"
        for field, step in STEPS.items():
            if field in document:
                step(self, directory, document[field])

    def _add_resources(self, directory: Path, names: list[str]) -> None:
        for name in names:
            path = directory / name
            if path.is_dir():
                self._add_directory(path)
            else:
                self.files.add(path.resolve())
                for manifest in read_manifests(path):
                    assert key(manifest) not in self.objects, key(manifest)
                    self.objects[key(manifest)] = manifest

    def _generate(self, _: Path, generators: list[Any]) -> None:
        for generator in generators:
            settings = dict(literal.split("=", 1) for literal in generator["literals"])
            is_new = generator.get("behavior", "create") == "create"
            name = ("ConfigMap", generator["name"])
            assert is_new == (name not in self.objects), name
            empty = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name[1]}}
            config = self.objects.setdefault(name, {**empty, "data": {}})
            config["data"] |= settings

    def _patch(self, directory: Path, patches: list[Any]) -> None:
        for patch in patches:
            if "target" in patch:
                manifest = self.objects[patch["target"]["kind"], patch["target"]["name"]]
                _remove_fields(manifest, yaml.safe_load(patch["patch"]))
            else:
                self.files.add((directory / patch["path"]).resolve())
                for change in read_manifests(directory / patch["path"]):
                    self.objects[key(change)] = _merge(self.objects[key(change)], change)

    def _set_replicas(self, _: Path, counts: list[Any]) -> None:
        for count in counts:
            self.objects["Deployment", count["name"]]["spec"]["replicas"] = count["count"]

    def _set_namespace(self, _: Path, namespace: str) -> None:
        for manifest in self.objects.values():
            manifest["metadata"]["namespace"] = namespace


STEPS: dict[str, Callable[[Composition, Path, Any], None]] = {
    "resources": Composition._add_resources,
    "components": Composition._add_resources,
    "configMapGenerator": Composition._generate,
    "patches": Composition._patch,
    "replicas": Composition._set_replicas,
    "namespace": Composition._set_namespace,
}
"""What the fields of a kustomization do, in kustomize's order."""


def key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _remove_fields(manifest: Manifest, operations: list[Any]) -> None:
    for operation in operations:
        *parents, last = operation["path"].removeprefix("/").split("/")
        assert operation == {"op": "remove", "path": operation["path"]}
        for parent in parents:
            manifest = manifest[parent]
        del manifest[last]


def _merge(base: Any, change: Any) -> Any:
    """Merges a strategic patch: elements of lists by their name, or by their mount path."""
    if isinstance(base, dict) and isinstance(change, dict):
        merged = deepcopy(base)
        for name, value in change.items():
            merged[name] = _merge(base[name], value) if name in base else deepcopy(value)
        return merged
    if isinstance(base, list) and all(isinstance(each, dict) for each in [*base, *change]):
        field = "mountPath" if "mountPath" in base[0] else "name"
        elements = {each[field]: each for each in change}
        merged_list = [_merge(each, elements.pop(each[field], {})) for each in base]
        return [*elements.values(), *merged_list]  # kustomize puts new elements first
    return deepcopy(change)
