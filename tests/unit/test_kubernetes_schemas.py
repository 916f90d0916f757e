"""docker/kubernetes: the kustomizations are whole, and each object is valid by its schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import kubernetes_validate
import pydantic
import pytest
import yaml

from support.kubernetes_schemas import CUSTOM, check_schema
from support.kustomize import (
    KUBERNETES,
    OPTIONS,
    OVERLAYS,
    Composition,
    Manifest,
    compose_by_kubectl,
    key,
    write_kustomization,
)

INVALID = (kubernetes_validate.ValidationError, pydantic.ValidationError)
VALUES = KUBERNETES / "overlays/autoscaled-hpa/prometheus-adapter.yaml"  # of a Helm chart
COMPOSITIONS = [Composition(overlay, *extra) for overlay in OVERLAYS for extra in ([], OPTIONS)]
DIFFERENT = {
    repr(manifest): manifest
    for composition in COMPOSITIONS
    for manifest in composition.objects.values()
}
KINDS = {manifest["kind"]: manifest for manifest in DIFFERENT.values()}


def test_overlays() -> None:
    """There is one for each way to run the service."""
    names = [path.name for path in OVERLAYS]
    assert names == ["autoscaled-hpa", "autoscaled-keda", "metrics", "one-node"]


@pytest.mark.parametrize("manifest", DIFFERENT.values(), ids=lambda each: "-".join(key(each)))
def test_schema(manifest: Manifest) -> None:
    """Each object is valid, in the oldest and the newest version of Kubernetes."""
    check_schema(manifest)


def mappings(value: object) -> Iterator[Manifest]:
    """The mappings in an object whose fields its schema names: not labels and the like."""
    if isinstance(value, dict):
        if not any("/" in name for name in value):
            yield value
        for name, each in value.items():
            if name not in {"labels", "annotations", "data", "metadata", "requests", "limits"}:
                yield from mappings(each)
    elif isinstance(value, list):
        for each in value:
            yield from mappings(each)


@pytest.mark.parametrize("manifest", KINDS.values(), ids=KINDS)
def test_a_misspelt_field_is_refused(manifest: Manifest) -> None:
    """The schemas are strict everywhere, else a misspelt field would do nothing in silence."""
    count = len(list(mappings(manifest)))
    for index in range(count):
        broken = deepcopy(manifest)
        list(mappings(broken))[index]["misspelt"] = "value"
        with pytest.raises(INVALID):
            check_schema(broken)


def test_every_custom_kind_is_used() -> None:
    """No schema is there for nothing."""
    assert {kind for _, kind in CUSTOM} <= set(KINDS)


def test_every_file_is_used() -> None:
    """A file that no kustomization names would be applied by nobody."""
    files = {path.resolve() for path in KUBERNETES.rglob("*") if path.is_file()}
    used = set().union(*(composition.files for composition in COMPOSITIONS))
    assert files - used == {VALUES.resolve()}


@pytest.mark.parametrize("options", [[], OPTIONS], ids=["alone", "with components"])
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_kubectl_composes_the_same(overlay: Path, options: list[Path], tmp_path: Path) -> None:
    """What the other tests check is what kubectl applies, but for the hash in a generated name."""
    composed = compose_by_kubectl(write_kustomization(tmp_path, [overlay], options))
    text, hashes = re.subn(r"\b(t5serve-settings)-[a-z0-9]{10}\b", r"\1", composed)
    assert hashes >= 2
    rendered = {key(manifest): manifest for manifest in yaml.safe_load_all(text)}
    assert rendered == Composition(overlay, *options).objects


@pytest.mark.parametrize(
    "fault",
    [
        {"resources": ["missing.yaml"]},
        {"components": ["missing"]},
        {"patches": [{"path": "missing.yaml"}]},
        {"patches": [{"target": {"kind": "Deployment", "name": "other"}, "patch": "[]"}]},
        {"patch": []},
    ],
    ids=lambda fault: str(fault)[:40],
)
def test_a_broken_kustomization_is_refused(tmp_path: Path, fault: Manifest) -> None:
    """A file that is missing, a patch without its object, a field that there is not."""
    path = write_kustomization(tmp_path, OVERLAYS[:1], []) / "kustomization.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    del document["components"]
    path.write_text(yaml.safe_dump(document | fault), encoding="utf-8")
    with pytest.raises((AssertionError, FileNotFoundError, KeyError)):
        Composition(tmp_path)
