"""What docs/kubernetes.md says, against the files and the code; its example is composed."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import yaml

from support.kubernetes_schemas import check_schema
from support.kustomize import KUBERNETES, OVERLAYS, Composition, compose_by_kubectl
from t5serve.http.auth import read_keys
from t5serve.settings import Settings

ROOT = KUBERNETES.parents[1]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
BLOCKS = [(language, textwrap.dedent(text)) for language, text in FENCE.findall(PAGE)]
CHECKOUT = "t5serve/docker/kubernetes/"


def example() -> dict[str, Any]:
    """The reader's own kustomization."""
    documents = [yaml.safe_load(text) for language, text in BLOCKS if language == "yaml"]
    (document,) = [each for each in documents if each["kind"] == "Kustomization"]
    return dict(document)


def test_names() -> None:
    """Each folder and file exists, each overlay is in the table, each variable is a setting."""
    names = set(re.findall(r"`((?:overlays|components)/[\w./-]*\w)`", PAGE))
    names |= set(re.findall(r"docker/kubernetes/([\w./-]*\w)", PAGE))
    assert {f"overlays/{path.name}" for path in OVERLAYS} <= names
    for name in names:
        assert (KUBERNETES / name).exists(), name
    for name in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", PAGE):
        assert (ROOT / "docs" / name).exists(), name
    variables = {name.lower() for name in re.findall(r"\bT5SERVE_([A-Z_]+)", PAGE)}
    assert variables
    assert variables <= Settings.model_fields.keys()


def test_keys(tmp_path: Path) -> None:
    """The commands make a key for clients and one for Prometheus, which the service takes."""
    (commands,) = [text for language, text in BLOCKS if "token_urlsafe" in text]
    subprocess.run(["/bin/sh", "-ec", commands], cwd=tmp_path, check=True)
    keys = read_keys(tmp_path / "api-keys")
    assert len(set(keys)) == 2
    assert (tmp_path / "prometheus-key").read_bytes() == keys[1]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_secret() -> None:
    """The Secret that the page makes is the one that the pods mount, with the entries they read."""
    composition = Composition(KUBERNETES / "overlays/metrics")
    pod = composition.find("Deployment")["spec"]["template"]["spec"]
    (secret,) = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    (endpoint,) = composition.find("ServiceMonitor")["spec"]["endpoints"]
    namespace = composition.find("Deployment")["metadata"]["namespace"]
    entries = [secret["items"][0]["key"], endpoint["authorization"]["credentials"]["key"]]
    files = " ".join(f"--from-file {entry}" for entry in entries)
    command = f"create secret generic {secret['secretName']} --namespace {namespace} {files}"
    assert PAGE.count(f"kubectl {command}") == 2


def test_example_composes(tmp_path: Path) -> None:
    """The reader's kustomization has the image, the setting and the host that it names."""
    (tmp_path / "t5serve" / "docker").mkdir(parents=True)
    (tmp_path / CHECKOUT).symlink_to(KUBERNETES)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(example()), encoding="utf-8")
    composed = compose_by_kubectl(tmp_path)
    objects = {each["kind"]: each for each in yaml.safe_load_all(composed)}
    for manifest in objects.values():
        check_schema(manifest)
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/search/t5serve:2026-12-01"
    assert objects["ConfigMap"]["data"]["T5SERVE_TIMEOUT_MS"] == "2000"
    assert objects["Ingress"]["spec"]["rules"][0]["host"] == "search.example.com"


def test_example_without_kubectl() -> None:
    """What the reader's kustomization names is there."""
    for name in [*example()["resources"], *example()["components"]]:
        assert (KUBERNETES / name.removeprefix(CHECKOUT) / "kustomization.yaml").is_file()
    (generator,) = example()["configMapGenerator"]
    composition = Composition(OVERLAYS[0])
    assert ("ConfigMap", generator["name"]) in composition.objects
