"""A hub of our own: an HTTP server that speaks as much of the hub's API as a fetch hears.

As there, small files come from the hub itself over a relative redirect, with git's blob id as
ETag; large ones over a redirect to a storage on another origin, with their sha256.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".gguf", ".model")


@dataclass
class Fault:
    """What goes wrong with requests whose path has `path` in it, `times` times.

    Attributes:
        status: answered instead of anything else.
        cut: bytes after which the connection is closed.
        stall: bytes after which nothing more comes until the hub is closed.
        flip: index of a byte that arrives with all its bits the other way.
        whole: a range is ignored.
    """

    path: str
    method: str = "GET"
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: int | None = None
    flip: int | None = None
    whole: bool = False


@dataclass(frozen=True)
class Seen:
    """One request; `origin` is hub or storage."""

    origin: str
    method: str
    path: str
    headers: dict[str, str]


class Hub:
    """Repositories as files by commit, with branches that point to commits."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.gated: set[str] = set()
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        self.url = self.storage_url = ""

    def commit(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Makes these the files of the branch; the commit's sha."""
        revision = _sha1(repr(sorted(files.items())).encode())
        self.commits.setdefault(repo, {})[revision] = files
        self.branches.setdefault(repo, {})[branch] = revision
        return revision

    def downloads(self, name: str) -> list[Seen]:
        """Requests that reached the content of a file, large or small."""
        contents = [files[name] for commits in self.commits.values() for files in commits.values()]
        paths = {f"/storage/{hashlib.sha256(content).hexdigest()}" for content in contents}
        return [
            seen
            for seen in self.seen
            if seen.method == "GET"
            and (seen.path in paths or re.search(rf"/api/resolve-cache/.*/{name}$", seen.path))
        ]

    def fault_of(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and fault.path in path:
                fault.times -= 1
                return fault
        return None

    def stored(self, sha256: str) -> bytes | None:
        everything = (
            content
            for commits in self.commits.values()
            for files in commits.values()
            for content in files.values()
        )
        return next((one for one in everything if hashlib.sha256(one).hexdigest() == sha256), None)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()  # as git's


def of_directory(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub and its storage."""
    hub = Hub()
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub, kind)) for kind in _ORIGINS]
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in servers]
    for thread in threads:
        thread.start()
    # Two names: a client takes one host on two ports for the hub itself.
    hub.url, hub.storage_url = (
        f"http://{name}:{server.server_address[1]}"
        for name, server in zip(("127.0.0.1", "localhost"), servers, strict=True)
    )
    try:
        yield hub
    finally:
        hub.closing.set()
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    origin: str

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's
        """Nothing: pytest's output is not the place."""

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.seen.append(Seen(self.origin, self.command, path, headers))
        self._fault = self.hub.fault_of(self.command, path)
        if self._fault and self._fault.status:
            self._answer(self._fault.status, b"", self._fault.headers)
            return
        self._route(path)

    def _route(self, path: str) -> None:
        raise NotImplementedError

    def _answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        fault = self._fault or Fault("")
        if fault.flip is not None:
            body = body[: fault.flip] + bytes([body[fault.flip] ^ 0xFF]) + body[fault.flip + 1 :]
        stop = fault.cut if fault.cut is not None else fault.stall
        self.wfile.write(body[:stop])
        self.wfile.flush()
        if fault.stall is not None:
            self.hub.closing.wait()
        if stop is not None:
            self.close_connection = True

    def _error(self, status: int, code: str) -> None:
        self._answer(status, b"", {"X-Error-Code": code})

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if not wanted or (self._fault and self._fault.whole):
            self._answer(200, content, headers)
            return
        start = int(wanted[1])
        if start >= len(content):
            self._answer(416)
            return
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(206, content[start:], {**headers, "Content-Range": span})


class _HubHandler(_Handler):
    def _route(self, path: str) -> None:
        hub = self.hub
        found = re.fullmatch(
            r"/(?:api/models/(?P<a>[^/]+/[^/]+)(?:/revision/(?P<ar>.+))?"
            r"|(?P<c>api/resolve-cache/models/)?(?P<f>[^/]+/[^/]+)/(?:resolve/)?(?P<fr>[^/]+)/(?P<file>.+))",
            path,
        )
        repo = found and (found["a"] or found["f"])
        if found is None or repo not in hub.commits:
            self._error(404, "RepoNotFound")
            return
        named = found["ar"] or found["fr"] or "main"
        revision = hub.branches[repo].get(named, named)
        if revision not in hub.commits[repo]:
            self._error(404, "RevisionNotFound")
            return
        files = hub.commits[repo][revision]
        if found["a"]:
            siblings = [{"rfilename": name} for name in (".gitattributes", *files)]
            info = {"id": repo, "modelId": repo, "sha": revision, "siblings": siblings}
            info |= {"private": False, "gated": repo in hub.gated, "tags": [], "downloads": 0}
            self._answer(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        elif repo in hub.gated and self.headers.get("Authorization") != "Bearer hf_good":
            self._error(401 if "Authorization" not in self.headers else 403, "GatedRepo")
        elif found["file"] not in files:
            self._error(404, "EntryNotFound")
        else:
            self._file(repo, revision, found["file"], cached=bool(found["c"]))

    def _file(self, repo: str, revision: str, name: str, *, cached: bool) -> None:
        content = self.hub.commits[repo][revision][name]
        blob = _sha1(b"blob %d\0" % len(content) + content)
        headers = {"X-Repo-Commit": revision, "ETag": f'"{blob}"'}
        if name.endswith(LARGE):
            sha256 = hashlib.sha256(content).hexdigest()
            headers |= {
                "X-Linked-Etag": f'"{sha256}"',
                "X-Linked-Size": str(len(content)),
                # As the hub does for what it keeps in Xet; a plain client goes on without it.
                "X-Xet-Hash": sha256,
                "Link": f'<{self.hub.url}/auth>; rel="xet-auth"',
                "Location": f"{self.hub.storage_url}/storage/{sha256}",
            }
            self._answer(302, b"", headers)
        elif not cached:
            place = f"/api/resolve-cache/models/{repo}/{revision}/{name}"
            self._answer(307, b"", {**headers, "Location": place})
        else:
            self._content(content, headers)


class _StorageHandler(_Handler):
    def _route(self, path: str) -> None:
        content = self.hub.stored(path.removeprefix("/storage/"))
        if content is None or "Authorization" in self.headers:  # a signed URL takes no other key
            self._answer(400)
            return
        self._content(content, {"ETag": '"storage-has-its-own"'})


_ORIGINS = {"hub": _HubHandler, "storage": _StorageHandler}


def _handler(hub: Hub, origin: str) -> type[_Handler]:
    return type("Handler", (_ORIGINS[origin],), {"hub": hub, "origin": origin})
