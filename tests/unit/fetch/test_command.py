from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from support.fetching import MODEL, REPO, Workspace
from support.hub_server import Fault, Hub
from t5gguf import __main__ as t5gguf


def test_ctrl_c_is_one_line(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    hub.commit(REPO, checkpoint)
    hub.faults = [Fault("/storage/", cut=1000)]
    monkeypatch.setattr(time, "sleep", interrupt)
    assert t5gguf.main(["fetch", REPO, "--quiet", "--lock", str(workspace.lock)]) == 130
    printed = workspace.capsys.readouterr()
    assert printed.err == "t5gguf: stopped; run this again to resume the download\n"
    assert workspace.files() == {}
    assert workspace.parts()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "no recipe is named 'none'; there are: "),
        ("", "no recipe is named ''"),
        ("a/b/c", "'a/b/c' is not a valid repository name"),
        ("a--b/c", "'a--b/c' is not a valid repository name"),
        (f"{REPO}@", "expected owner/name@revision"),
    ],
)
def test_an_invalid_name_is_refused(
    hub: Hub, workspace: Workspace, name: str, message: str
) -> None:
    assert message in workspace.fetch(name)
    assert not hub.seen


@pytest.mark.parametrize("file", ["../x.gguf", "config.json", ""])
def test_only_gguf_files_are_taken_by_name(hub: Hub, workspace: Workspace, file: str) -> None:
    assert "is not the path of a GGUF file" in workspace.fetch(REPO, "--file", file)
    assert not hub.seen


def test_offline_uses_files_on_disk(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    hub.commit(REPO, checkpoint)
    assert "nothing is downloaded offline" in workspace.fetch(REPO, "--offline")
    assert workspace.fetch(REPO) == ""
    before = len(hub.seen)
    assert workspace.fetch(REPO, "--offline") == ""
    (workspace.model / MODEL).write_bytes(b"changed")
    assert "nothing is downloaded offline" in workspace.fetch(REPO, "--offline")
    assert len(hub.seen) == before


def test_offline_by_the_environment(hub: Hub) -> None:
    command = [sys.executable, "-m", "t5gguf", "fetch", REPO]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "nothing is downloaded offline" in ran.stderr
    assert not hub.seen


def test_a_repository_without_a_checkpoint_is_not_fetched(hub: Hub, workspace: Workspace) -> None:
    hub.commit(REPO, {"README.md": b"#"})
    assert "has no checkpoint that can be converted" in workspace.fetch(REPO)
    hub.commit(REPO, {"b.gguf": b"b", "a.gguf": b"a"})
    assert workspace.fetch(REPO) == f"{REPO} has GGUF files, choose one with --file: a.gguf, b.gguf"
    assert workspace.files() == {}


def test_a_gguf_file_is_taken_by_name(hub: Hub, workspace: Workspace) -> None:
    hub.commit(REPO, {"q8/a.gguf": b"a", "b.gguf": b"b"})
    assert workspace.fetch(REPO, "--file", "q8/a.gguf") == ""
    assert workspace.files() == {"a.gguf": b"a"}
    assert f"--model {workspace.model / 'a.gguf'}" in workspace.out
    assert workspace.fetch(REPO, "--file", "b.gguf") == ""
    assert workspace.files() == {"a.gguf": b"a", "b.gguf": b"b"}
    assert workspace.fetch(REPO, "--file", "q8/a.gguf", "--offline") == ""
    assert f"--model {workspace.model / 'a.gguf'}" in workspace.out
    assert "there is nothing to convert" in workspace.fetch(REPO, "--file", "b.gguf", "--convert")


def test_a_recipe_names_its_own_files(hub: Hub, workspace: Workspace) -> None:
    assert "is a recipe" in workspace.fetch("t5-small", "--file", "x.gguf")
    assert not hub.seen


def test_the_included_model_needs_no_fetch(hub: Hub, workspace: Workspace) -> None:
    assert workspace.fetch("tiny-t5") == ""
    assert "--model tiny-t5" in workspace.out
    assert not hub.seen


def test_the_list_shows_which_models_are_fetched(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    hub.commit("google-t5/t5-small", checkpoint)
    assert workspace.fetch("t5-small") == ""
    assert workspace.fetch("--list") == ""
    states = {line.split()[0]: line.split()[1] for line in workspace.out.splitlines()}
    assert (states["t5-small"], states["t5-base"], states["tiny-t5"]) == ("fetched", "-", "ready")
    assert not [seen for seen in hub.seen if "t5-base" in seen.path]


def test_an_unknown_type_is_refused_before_anything_is_fetched(
    hub: Hub, workspace: Workspace
) -> None:
    assert "type 'Q3_K' is not one of F32, " in workspace.fetch(REPO, "--convert", "Q8_0,Q3_K")
    assert not hub.seen
