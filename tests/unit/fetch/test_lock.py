from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from support.fetching import MODEL, REPO, Workspace
from support.hub_server import Fault, Hub
from t5gguf import __main__ as t5gguf
from t5gguf import recipe


def test_the_pinned_revision_is_kept_until_an_update(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    first = hub.commit(REPO, checkpoint)
    assert workspace.fetch(REPO) == ""
    changed = checkpoint | {"config.json": checkpoint["config.json"] + b"\n"}
    second = hub.commit(REPO, changed)
    shutil.rmtree(workspace.model)
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint
    message = f"the pin has revision {first}, the hub has {second}: --update pins the current files"
    assert message in workspace.fetch(f"{REPO}@{second}")
    assert message in workspace.fetch(f"{REPO}@main")
    assert workspace.files() == checkpoint
    assert workspace.fetch(REPO, "--update") == ""
    assert workspace.files() == changed
    assert workspace.pin()["revision"] == second


@pytest.mark.parametrize("name", ["v1.0", "refs/pr/1"])
def test_a_tag_is_pinned_to_its_commit(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], name: str
) -> None:
    """Later the tag is resolved without the hub."""
    first = hub.commit(REPO, checkpoint, name)
    hub.commit(REPO, {"README.md": b"#"})
    assert workspace.fetch(f"{REPO}@{name}") == ""
    before = len(hub.seen)
    assert workspace.fetch(f"{REPO}@{name}", "--offline") == ""
    assert len(hub.seen) == before
    hub.commit(REPO, checkpoint | {"config.json": b"{}"}, name)
    shutil.rmtree(workspace.model)
    assert workspace.fetch(f"{REPO}@{name}") == ""
    assert workspace.files() == checkpoint
    assert workspace.pin()["revision"] == first


def test_other_content_at_the_pinned_revision_is_refused(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    """The lock reveals a mirror that serves another file with a matching hash."""
    revision = hub.commit(REPO, checkpoint)
    assert workspace.fetch(REPO) == ""
    for name in (MODEL, "config.json"):
        shutil.rmtree(workspace.model)
        hub.commits[REPO][revision] = checkpoint | {name: checkpoint[name] + b" "}
        assert f"{name} has another sha256: --update pins" in workspace.fetch(REPO)
        assert name not in workspace.files()


def test_a_file_that_changed_here_is_fetched_again(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    """Only that file is fetched again."""
    hub.commit(REPO, checkpoint)
    assert workspace.fetch(REPO) == ""
    (workspace.model / "config.json").write_bytes(b"{}")
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint
    assert len(hub.downloads("config.json")) == 2
    assert len(hub.downloads(MODEL)) == 1


def test_an_update_that_is_cut_leaves_the_old_files(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    """New and old files are never mixed."""
    hub.commit(REPO, checkpoint)
    assert workspace.fetch(REPO) == ""
    pin = workspace.pin()
    changed = checkpoint | {name: checkpoint[name] + b" " for name in ("config.json", MODEL)}
    hub.commit(REPO, changed)
    hub.faults = [Fault(hashlib.sha256(changed[MODEL]).hexdigest(), times=99, cut=0)]
    assert "run this again" in workspace.fetch(REPO, "--update")
    assert workspace.files() == checkpoint
    assert workspace.pin() == pin


def test_a_malformed_lock_file_is_refused(workspace: Workspace) -> None:
    workspace.lock.write_text("<<<<<<< ours\n", encoding="utf-8")
    assert workspace.fetch(REPO).startswith(f"{workspace.lock} is not a lock file: ")


RECIPE = """\
name = "ours"
description = "A model."
license = "Apache-2.0"
file = "ours-Q8_0.gguf"

[source]
repo = "someone/a-t5"

[source.sha256]
"config.json" = "{sha256}"

[tasks]
reformulate = ""
"""


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of an installed wheel's recipes."""
    bundled = tmp_path / "wheel"
    (bundled / "recipes").mkdir(parents=True)
    monkeypatch.setattr(recipe, "BUNDLED", bundled)
    return bundled / "recipes"


def test_a_recipes_own_hashes_are_held_to(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], recipes: Path
) -> None:
    """They hold without a pin, and during an update."""
    hub.commit(REPO, checkpoint)
    wrong = hashlib.sha256(b"another").hexdigest()
    (recipes / "ours.toml").write_text(RECIPE.replace("{sha256}", wrong), encoding="utf-8")
    for options in ((), ("--update",)):
        assert "config.json has another sha256" in workspace.fetch("ours", *options)
    right = hashlib.sha256(checkpoint["config.json"]).hexdigest()
    (recipes / "ours.toml").write_text(RECIPE.replace("{sha256}", right), encoding="utf-8")
    assert workspace.fetch("ours") == ""


def test_the_lock_file_of_a_wheel_holds(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], recipes: Path
) -> None:
    right = hashlib.sha256(checkpoint["config.json"]).hexdigest()
    (recipes / "ours.toml").write_text(RECIPE.replace("{sha256}", right), encoding="utf-8")
    first = hub.commit(REPO, checkpoint)
    assert workspace.fetch("ours") == ""
    workspace.lock.rename(recipes / "lock.json")
    shutil.rmtree(workspace.path / "models")
    hub.commit(REPO, {"README.md": b"#"})
    assert t5gguf.main(["fetch", "ours", "--quiet"]) == 0
    assert f"{REPO} at {first}" in workspace.capsys.readouterr().out
    assert t5gguf.main(["fetch", "ours", "--quiet", "--offline"]) == 0
    assert t5gguf.main(["fetch", "--list"]) == 0
    assert "ours  fetched  Apache-2.0" in workspace.capsys.readouterr().out
