"""`t5gguf fetch` against a hub of our own, through the real huggingface-hub."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub import constants

from support import hub_server, tiny
from support.hub_server import Fault, Hub
from t5gguf import __main__ as t5gguf
from t5gguf import recipe
from t5gguf.fetch import hub as client

REPO = "someone/a-t5"
MODEL = "model.safetensors"
NEEDED = {"config.json", "spiece.model", MODEL}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tiny.build("tied_relu", tmp_path_factory.mktemp("fetch") / "source")
    return hub_server.of_directory(directory)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that HF_ENDPOINT points to, and an account without a token."""
    monkeypatch.setattr(client, "RETRY_DELAYS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("T5GGUF_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub_server.serve() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@dataclass
class Workspace:
    """Where fetches go, and what they print."""

    path: Path
    capsys: pytest.CaptureFixture[str]
    out: str = ""

    @property
    def model(self) -> Path:
        return self.path / "models" / REPO.replace("/", "--")

    @property
    def lock(self) -> Path:
        return self.path / "lock.json"

    def fetch(self, *arguments: str) -> str:
        """Runs the command; the one line that it fails with, if it does."""
        status = t5gguf.main(["fetch", *arguments, "--quiet", "--lock", str(self.lock)])
        printed = self.capsys.readouterr()
        self.out = printed.out
        assert status == bool(printed.err)
        if not status:
            return ""
        (line,) = printed.err.splitlines()
        return line.removeprefix("t5gguf fetch: ")

    def files(self) -> dict[str, bytes]:
        """What stands under final names; parts are hidden."""
        there = self.model.iterdir() if self.model.exists() else ()
        return {path.name: path.read_bytes() for path in there if path.name[0] != "."}

    def parts(self) -> list[Path]:
        return sorted(self.model.glob(".*"))

    def pin(self) -> dict[str, object]:
        pins: dict[str, dict[str, object]] = json.loads(self.lock.read_bytes())
        return pins[REPO]


@pytest.fixture
def workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Workspace:
    return Workspace(tmp_path, capsys)


def test_only_what_conversion_needs_is_fetched_and_pinned(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    beside = {"tokenizer_config.json": b"{}", "added_tokens.json": b"{}"}
    others = ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "tokenizer.json", "R.md")
    files = checkpoint | beside | dict.fromkeys(others, b"not needed")
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
def test_an_index_is_not_trusted(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], index: bytes, message: str
) -> None:
    """A name with a path in it would be written where it says."""
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


def test_a_cut_connection_is_taken_up_where_it_broke(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault("/storage/", cut=1000), Fault("/api/resolve-cache/", cut=10)]
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint
    assert "bytes=1000-" in {seen.headers.get("range") for seen in hub.seen}
    assert "bytes=10-" in {seen.headers.get("range") for seen in hub.downloads("config.json")}


def test_a_second_run_takes_up_what_the_first_left(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    """Nothing stands under a final name until everything is there."""
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


def test_a_killed_run_is_taken_up(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    """Not even a process that had no time to clean up leaves half a file under a final name."""
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
    assert printed.err == "t5gguf fetch: stopped; run this again to resume the download\n"
    assert workspace.files() == {}
    assert workspace.parts()


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
    """In a large file by sha256, in a small one by git's blob id."""
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
    """What an earlier run left counts for nothing until the whole is verified."""
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


@pytest.mark.parametrize("path", ["/api/models/", "/resolve/", "/storage/"])
def test_a_passing_fault_is_sat_out(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], path: str
) -> None:
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault(path, method, status=503) for method in ("GET", "HEAD")] * 2
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint


@pytest.mark.parametrize("path", ["/api/models/", "/resolve/", "/storage/"])
def test_a_lasting_fault_is_said(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], path: str
) -> None:
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault(path, "GET", times=99, status=500)]
    assert workspace.fetch(REPO) == f"{hub.url} answers with status 500 for {REPO}: try again later"
    assert workspace.files() == {}


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "7"}, {"RateLimit": '"resolvers";r=0;t=7'}], ids=str
)
def test_a_hub_that_asks_to_wait_is_waited_for(
    hub: Hub,
    workspace: Workspace,
    checkpoint: dict[str, bytes],
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault("/storage/", status=429, headers=headers)]
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    assert workspace.fetch(REPO) == ""
    assert waited == [7]


def test_a_hub_that_asks_to_wait_for_long_is_not(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault("/storage/", status=429, headers={"Retry-After": "3600"})]
    monkeypatch.setattr(time, "sleep", pytest.fail)
    message = f"{hub.url} accepts no more requests for 3600 s: try again later"
    assert workspace.fetch(REPO) == message


def test_a_gated_repository_needs_a_token(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token goes to the hub, and not on to where the hub sends us."""
    hub.commit(REPO, checkpoint)
    hub.gated.add(REPO)
    message = f"{REPO} is gated: accept its terms at {hub.url}/{REPO} and set HF_TOKEN to a token"
    assert message in workspace.fetch(REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    assert message in workspace.fetch(REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint
    assert not [
        seen for seen in hub.seen if seen.origin == "storage" and seen.headers.get("authorization")
    ]


@pytest.mark.parametrize("status", [401, 403])
def test_a_private_repository_is_said_to_need_a_token(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], status: int
) -> None:
    """The hub gives the same answer for a repository that is not there."""
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault("/api/models/", status=status, headers={"X-Error-Code": "RepoNotFound"})]
    assert f"(status {status}): check the name, or set HF_TOKEN" in workspace.fetch(REPO)


def test_what_is_not_there_is_named(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    revision = hub.commit(REPO, checkpoint)
    assert workspace.fetch("someone/none") == f"{hub.url} has no repository someone/none"
    assert workspace.fetch(f"{REPO}@v9").startswith(f"{REPO} has no revision v9: name another")
    files = ("--file", "sub/x.gguf")
    assert workspace.fetch(REPO, *files) == f"{REPO} has no file sub/x.gguf at {revision}"
    hub.faults = [Fault(MODEL, "HEAD", status=404, headers={"X-Error-Code": "EntryNotFound"})]
    assert workspace.fetch(REPO) == f"{REPO} has no file {MODEL} at {revision}"


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
def test_a_name_that_is_none_is_refused(
    hub: Hub, workspace: Workspace, name: str, message: str
) -> None:
    assert message in workspace.fetch(name)
    assert not hub.seen


@pytest.mark.parametrize("file", ["../x.gguf", "config.json", ""])
def test_only_gguf_files_are_taken_by_name(hub: Hub, workspace: Workspace, file: str) -> None:
    assert "is not the path of a GGUF file" in workspace.fetch(REPO, "--file", file)
    assert not hub.seen


def test_a_network_that_is_down_is_said(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert workspace.fetch(REPO).startswith(f"{endpoint} can't be reached, or drops connections (")
    hub.commit(REPO, checkpoint)
    monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
    assert workspace.fetch(REPO) == ""


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://hub.example"])
def test_an_endpoint_that_is_no_url_is_refused(
    workspace: Workspace, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert (
        workspace.fetch(REPO) == f"HF_ENDPOINT is {endpoint!r}, expected a URL with http or https"
    )


def test_a_server_that_is_no_hub_is_said(hub: Hub, workspace: Workspace) -> None:
    hub.faults = [Fault("/api/models/", status=200)]
    assert "does not answer like a hub" in workspace.fetch(REPO)


def test_a_hub_without_a_hash_is_not_trusted(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault("config.json", "HEAD", status=200, headers={"ETag": '"d41d8cd9"'})]
    assert "gives no size or no hash of config.json" in workspace.fetch(REPO)
    assert workspace.files() == {}


def test_a_disk_that_is_too_small_is_said_before(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(REPO, checkpoint)
    usage = shutil.disk_usage(workspace.path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    size = sum(map(len, checkpoint.values()))
    assert workspace.fetch(REPO) == f"{workspace.model} has 10,000 bytes free, {size:,} are needed"
    assert not hub.downloads(MODEL)


def test_offline_takes_what_is_there(
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
    """And is known without the hub from then on."""
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
    """A mirror that answers with another file, hashes and all, is found out by the lock."""
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
    """And only that one."""
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
    """New and old files never stand together."""
    hub.commit(REPO, checkpoint)
    assert workspace.fetch(REPO) == ""
    pin = workspace.pin()
    changed = checkpoint | {name: checkpoint[name] + b" " for name in ("config.json", MODEL)}
    hub.commit(REPO, changed)
    hub.faults = [Fault(hashlib.sha256(changed[MODEL]).hexdigest(), times=99, cut=0)]
    assert "run this again" in workspace.fetch(REPO, "--update")
    assert workspace.files() == checkpoint
    assert workspace.pin() == pin


def test_a_lock_file_that_is_none_is_refused(workspace: Workspace) -> None:
    workspace.lock.write_text("<<<<<<< ours\n", encoding="utf-8")
    assert workspace.fetch(REPO).startswith(f"{workspace.lock} is not a lock file: ")


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


def test_what_cannot_be_converted_is_not_fetched(hub: Hub, workspace: Workspace) -> None:
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


def test_a_recipe_says_itself_what_files_there_are(hub: Hub, workspace: Workspace) -> None:
    assert "is a recipe" in workspace.fetch("t5-small", "--file", "x.gguf")
    assert not hub.seen


def test_the_included_model_needs_no_fetch(hub: Hub, workspace: Workspace) -> None:
    assert workspace.fetch("tiny-t5") == ""
    assert "--model tiny-t5" in workspace.out
    assert not hub.seen


def test_the_list_tells_what_is_there(
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
    """Even where nothing is pinned yet, and by an update too."""
    hub.commit(REPO, checkpoint)
    wrong = hashlib.sha256(b"another").hexdigest()
    (recipes / "ours.toml").write_text(RECIPE.replace("{sha256}", wrong), encoding="utf-8")
    for options in ((), ("--update",)):
        assert "config.json has another sha256" in workspace.fetch("ours", *options)
    right = hashlib.sha256(checkpoint["config.json"]).hexdigest()
    (recipes / "ours.toml").write_text(RECIPE.replace("{sha256}", right), encoding="utf-8")
    assert workspace.fetch("ours") == ""


def test_the_lock_file_that_a_wheel_was_built_with_holds(
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
