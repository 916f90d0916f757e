from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import hub_server, tiny
from support.fetching import MODEL, REPO, Workspace
from support.hub_server import Fault, Hub


def test_only_what_conversion_needs_is_fetched_and_pinned(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    names = ("tokenizer", "tokenizer_config", "added_tokens", "special_tokens_map")
    beside = {f"{name}.json": b"{}" for name in (*names, "generation_config")}
    unneeded = ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "R.md")
    files = checkpoint | beside | dict.fromkeys(unneeded, b"not needed")
    revision = hub.commit(REPO, files)
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint | beside
    assert not workspace.parts()
    assert workspace.pin() == {
        "repo": REPO,
        "revision": revision,
        "sha256": {
            name: hashlib.sha256(content).hexdigest() for name, content in workspace.files().items()
        },
        "asked": "",
    }
    assert len(hub.downloads(MODEL)) == 1
    assert "--convert" in workspace.out


def test_shards_are_those_of_the_index(hub: Hub, workspace: Workspace, tmp_path: Path) -> None:
    files = hub_server.of_directory(tiny.build("tied_relu", tmp_path / "source", shards=3))
    hub.commit(REPO, files | {"model-00001-of-00009.safetensors": b"of another index"})
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == files


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"{}", "has a malformed index"),
        (b'{"weight_map": {"a": "../b.safetensors"}}', "names files in other directories"),
        (b'{"weight_map": {"a": "b.safetensors"}}', "lacks shards that .* names: b.safetensors"),
    ],
)
def test_a_malformed_index_is_refused(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], index: bytes, message: str
) -> None:
    """A name with a path would be written outside of the model's directory."""
    files = {name: content for name, content in checkpoint.items() if name != MODEL}
    hub.commit(REPO, files | {"model.safetensors.index.json": index})
    assert re.search(message, workspace.fetch(REPO))
    assert workspace.files() == {}


def test_pytorch_weights_are_fetched_where_there_are_no_others(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    files = {name: content for name, content in checkpoint.items() if name != MODEL}
    hub.commit(REPO, files | {"pytorch_model.bin": b"weights"})
    assert workspace.fetch(REPO) == ""
    assert workspace.files().keys() == {"config.json", "spiece.model", "pytorch_model.bin"}


def test_a_cut_connection_is_resumed(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault("/storage/", cut=1000), Fault("/api/resolve-cache/", cut=10)]
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint
    assert "bytes=1000-" in {seen.headers.get("range") for seen in hub.seen}
    assert "bytes=10-" in {seen.headers.get("range") for seen in hub.downloads("config.json")}


def test_a_second_run_resumes_the_first(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    """No file has its final name until all files are verified."""
    hub.commit(REPO, checkpoint)
    storage = f"/storage/{hashlib.sha256(checkpoint[MODEL]).hexdigest()}"
    hub.faults = [Fault(storage, cut=100_000), Fault(storage, times=99, cut=0)]
    assert "run this again" in workspace.fetch(REPO)
    assert workspace.files() == {}
    assert not workspace.lock.exists()
    hub.faults, before = [], len(hub.seen)
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint
    ranges = [seen.headers.get("range") for seen in hub.seen[before:] if seen.path == storage]
    assert ranges == ["bytes=100000-"]
    assert not workspace.parts()


def test_a_killed_run_is_resumed(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    """Even a killed process leaves no partial file under a final name."""
    hub.commit(REPO, checkpoint)
    storage = f"/storage/{hashlib.sha256(checkpoint[MODEL]).hexdigest()}"
    hub.faults = [Fault(storage, stall=1 << 17)]
    command = [sys.executable, "-m", "t5gguf", "fetch", REPO, "--lock", str(workspace.lock)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(lambda: size_of_part(workspace) > 0)
    process.kill()
    process.wait()
    assert workspace.files() == {}
    left = size_of_part(workspace)
    before = len(hub.seen)
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint
    ranges = [seen.headers.get("range") for seen in hub.seen[before:] if seen.path == storage]
    assert ranges == [f"bytes={left}-"]


def size_of_part(workspace: Workspace) -> int:
    return sum(path.stat().st_size for path in workspace.parts() if MODEL in path.name)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_hub_that_ignores_ranges_is_read_from_the_start(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault("/storage/", cut=1000), Fault("/storage/", whole=True)]
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint


@pytest.mark.parametrize("name", [MODEL, "config.json"])
def test_a_damaged_byte_is_found(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], name: str
) -> None:
    """A large file is checked by sha256, a small one by git's blob id."""
    hub.commit(REPO, checkpoint)
    large = f"/storage/{hashlib.sha256(checkpoint[MODEL]).hexdigest()}"
    path = large if name == MODEL else "/api/resolve-cache/"
    hub.faults = [Fault(path, flip=100)]
    assert "arrived damaged" in workspace.fetch(REPO)
    assert workspace.files() == {}
    assert not [part for part in workspace.parts() if name in part.name]
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint


def test_a_damaged_part_is_found(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    """A part of an earlier run is used only after the whole file is verified."""
    hub.commit(REPO, checkpoint)
    workspace.model.mkdir(parents=True)
    sha256 = hashlib.sha256(checkpoint[MODEL]).hexdigest()
    (workspace.model / f".{MODEL}.{sha256[:12]}.part").write_bytes(bytes(5000))
    assert "arrived damaged" in workspace.fetch(REPO)
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint


def test_a_part_that_is_too_long_is_thrown_away(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    hub.commit(REPO, checkpoint)
    workspace.model.mkdir(parents=True)
    sha256 = hashlib.sha256(checkpoint[MODEL]).hexdigest()
    (workspace.model / f".{MODEL}.{sha256[:12]}.part").write_bytes(
        bytes(len(checkpoint[MODEL]) + 1)
    )
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint


def test_a_full_disk_is_reported_before_downloading(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(REPO, checkpoint)
    usage = shutil.disk_usage(workspace.path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    size = sum(map(len, checkpoint.values()))
    assert workspace.fetch(REPO) == f"{workspace.model} has 10,000 bytes free, {size:,} are needed"
    assert not hub.downloads(MODEL)


def test_two_fetches_at_once_do_not_mix(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    hub.commit(REPO, checkpoint)
    models = workspace.path / "models"
    models.mkdir()
    handle = os.open(models, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        assert workspace.fetch(REPO) == f"another fetch into {models} is running: wait for it"
    finally:
        os.close(handle)
    assert workspace.fetch(REPO) == ""
