from __future__ import annotations

import socket
import time

import pytest

from support.fetching import MODEL, REPO, Workspace
from support.hub_server import Fault, Hub


@pytest.mark.parametrize("path", ["/api/models/", "/resolve/", "/storage/"])
def test_a_passing_fault_is_retried(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], path: str
) -> None:
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault(path, method, status=503) for method in ("GET", "HEAD")] * 2
    assert workspace.fetch(REPO) == ""
    assert workspace.files() == checkpoint


@pytest.mark.parametrize("path", ["/api/models/", "/resolve/", "/storage/"])
def test_a_lasting_fault_is_reported(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], path: str
) -> None:
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault(path, "GET", times=99, status=500)]
    assert workspace.fetch(REPO) == f"{hub.url} answers with status 500 for {REPO}: try again later"
    assert workspace.files() == {}


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "7"}, {"RateLimit": '"resolvers";r=0;t=7'}], ids=str
)
def test_a_requested_delay_is_respected(
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


def test_a_long_requested_delay_is_an_error(
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
    """The token goes to the hub, but not to the storage that it redirects to."""
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
def test_a_private_repository_needs_a_token(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes], status: int
) -> None:
    """The hub gives the same answer for a repository that does not exist."""
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault("/api/models/", status=status, headers={"X-Error-Code": "RepoNotFound"})]
    assert f"(status {status}): check the name, or set HF_TOKEN" in workspace.fetch(REPO)


def test_missing_repositories_revisions_and_files_are_named(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    revision = hub.commit(REPO, checkpoint)
    assert workspace.fetch("someone/none") == f"{hub.url} has no repository someone/none"
    assert workspace.fetch(f"{REPO}@v9").startswith(f"{REPO} has no revision v9: name another")
    files = ("--file", "sub/x.gguf")
    assert workspace.fetch(REPO, *files) == f"{REPO} has no file sub/x.gguf at {revision}"
    hub.faults = [Fault(MODEL, "HEAD", status=404, headers={"X-Error-Code": "EntryNotFound"})]
    assert workspace.fetch(REPO) == f"{REPO} has no file {MODEL} at {revision}"


def test_a_network_that_is_down_is_reported(
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


def test_a_server_that_is_no_hub_is_reported(hub: Hub, workspace: Workspace) -> None:
    hub.faults = [Fault("/api/models/", status=200)]
    assert "does not answer like a hub" in workspace.fetch(REPO)


def test_a_hub_without_a_hash_is_refused(
    hub: Hub, workspace: Workspace, checkpoint: dict[str, bytes]
) -> None:
    hub.commit(REPO, checkpoint)
    hub.faults = [Fault("config.json", "HEAD", status=200, headers={"ETag": '"d41d8cd9"'})]
    assert "gives no size or no hash of config.json" in workspace.fetch(REPO)
    assert workspace.files() == {}
