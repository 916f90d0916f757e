"""Downloads the files of a model into a directory, and holds them to the lock file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from t5gguf.errors import FetchError
from t5gguf.fetch.files import local_name, select_files
from t5gguf.fetch.hub import SHA256_DIGITS, Hub, Listing, RemoteFile
from t5gguf.fetch.lock import Lock, Pin
from t5gguf.hashing import hash_file
from t5gguf.recipe import Recipe


@dataclass(frozen=True)
class FetchRequest:
    """A model to fetch.

    Attributes:
        repo: the repository, owner/name.
        revision: a commit, branch or tag; empty for the pinned one, else the main branch.
        files: GGUF files to fetch instead of a checkpoint.
        sha256: the hashes of files that the recipe prescribes, by file name.
        recipe: the model's recipe, if there is one.
    """

    repo: str
    revision: str = ""
    files: tuple[str, ...] = ()
    sha256: dict[str, str] = field(default_factory=dict)
    recipe: Recipe | None = None

    @property
    def name(self) -> str:
        """The model's name in the lock file."""
        return self.recipe.name if self.recipe else self.repo

    @property
    def directory_name(self) -> str:
        """The name of the model's directory."""
        return self.name.replace("/", "--")


class Fetcher:
    """Fetches models into a directory.

    Args:
        hub: the hub to download from; None to use only files that are on disk.
        lock: the lock file.
        models: the directory, with one directory per model.
    """

    def __init__(self, hub: Hub | None, lock: Lock, models: Path) -> None:
        self._hub, self._lock, self._models = hub, lock, models

    def model_directory(self, request: FetchRequest) -> Path:
        """Returns the directory of a model's files."""
        return self._models / request.directory_name

    def is_fetched(self, request: FetchRequest) -> bool:
        """Whether all pinned files exist; their content is not checked."""
        pin = self._lock.find_pin(request.name)
        if pin is None or not {local_name(name) for name in request.files} <= pin.sha256.keys():
            return False
        return all((self.model_directory(request) / name).is_file() for name in pin.sha256)

    def fetch(self, request: FetchRequest, *, update: bool = False) -> Pin:
        """Downloads, verifies and pins a model; files appear once all of them are verified.

        Args:
            request: the model.
            update: ignore the pin, and pin the revision and files that the hub has now.

        Raises:
            FetchError: the hub has other files than those pinned, or a download fails.
        """
        pin = None if update else self._lock.find_pin(request.name)
        if pin is not None and pin.repo != request.repo:
            conflict = f"the pin has repository {pin.repo}, the recipe has {request.repo}"
            raise FetchError(self._describe_conflict(request, conflict))
        requests_pin = pin is not None and request.revision in (
            "",
            pin.revision,
            pin.requested_revision,
        )
        if (
            pin is not None
            and requests_pin
            and self.is_fetched(request)
            and self._is_intact(request, pin)
        ):
            return pin
        if self._hub is None:
            raise FetchError(
                f"{request.name} is not complete on disk, and nothing is downloaded offline: "
                "run this without --offline and HF_HUB_OFFLINE"
            )
        revision = pin.revision if pin and requests_pin else request.revision or "main"
        listing = self._hub.list_files(request.repo, revision)
        if pin is not None and listing.revision != pin.revision:
            conflict = f"the pin has revision {pin.revision}, the hub has {listing.revision}"
            raise FetchError(self._describe_conflict(request, conflict))
        with _lock_directory(self._models):
            return self._download_files(self._hub, request, listing, pin)

    def _download_files(
        self, hub: Hub, request: FetchRequest, listing: Listing, pin: Pin | None
    ) -> Pin:
        directory = self.model_directory(request)
        directory.mkdir(parents=True, exist_ok=True)
        expected_hashes = {**request.sha256, **(pin.sha256 if pin else {})}

        def read(name: str) -> bytes:
            remote = hub.describe_file(listing, name)
            return self._stage(hub, request, remote, expected_hashes)[0].read_bytes()

        names = list(request.files) or select_files(request.repo, listing.files, read)
        absent = [name for name in names if name not in listing.files]
        if absent:
            raise FetchError(f"{request.repo} has no file {absent[0]} at {listing.revision}")
        remotes = [hub.describe_file(listing, name) for name in names]
        self._check_disk_space(directory, remotes)
        staged = {
            local_name(remote.name): self._stage(hub, request, remote, expected_hashes)
            for remote in remotes
        }
        for name, (path, _) in staged.items():
            path.replace(directory / name)
        for leftover in directory.glob(".*.part"):
            leftover.unlink()
        hashes = {name: sha256 for name, (_, sha256) in staged.items()}
        if pin is None:
            new_pin = Pin(request.repo, listing.revision, hashes, request.revision)
        else:
            new_pin = msgspec.structs.replace(pin, sha256={**pin.sha256, **hashes})
        if new_pin != pin:
            self._lock.save(request.name, new_pin)
        return new_pin

    def _stage(
        self, hub: Hub, request: FetchRequest, remote: RemoteFile, expected_hashes: dict[str, str]
    ) -> tuple[Path, str]:
        """Downloads and verifies one file.

        Returns the path of the file, either its final one or that of its part, and its sha256.
        """
        name = local_name(remote.name)
        expected = expected_hashes.get(name)
        if expected and len(remote.etag) == SHA256_DIGITS and remote.etag != expected:
            raise FetchError(self._describe_conflict(request, f"{name} has another sha256"))
        final = self.model_directory(request) / name
        part = _part_path(final, remote)
        for path in (final, part):
            if path.is_file() and path.stat().st_size == remote.size:
                sha256 = hash_file(path)
                if _matches_etag(path, sha256, remote) and expected in (None, sha256):
                    return path, sha256
        if part.exists() and part.stat().st_size >= remote.size:
            part.unlink()
        hub.download(remote, part)
        sha256 = hash_file(part)
        if not _matches_etag(part, sha256, remote):
            part.unlink()
            raise FetchError(
                f"{remote.name} of {remote.repo} arrived damaged, its hash is not the hub's: "
                "run this again"
            )
        if expected not in (None, sha256):
            part.unlink()
            raise FetchError(self._describe_conflict(request, f"{name} has another sha256"))
        _sync(part)
        return part, sha256

    def _describe_conflict(self, request: FetchRequest, conflict: str) -> str:
        return (
            f"{request.name} differs from its pin in {self._lock.path} or its recipe, {conflict}: "
            "--update pins the current files"
        )

    def _is_intact(self, request: FetchRequest, pin: Pin) -> bool:
        directory = self.model_directory(request)
        return all(hash_file(directory / name) == expected for name, expected in pin.sha256.items())

    def _check_disk_space(self, directory: Path, remotes: Collection[RemoteFile]) -> None:
        required = 0
        for remote in remotes:
            final = directory / local_name(remote.name)
            if final.is_file() and final.stat().st_size == remote.size:
                continue
            part = _part_path(final, remote)
            required += remote.size - (part.stat().st_size if part.exists() else 0)
        free = shutil.disk_usage(directory).free
        if free < required:
            raise FetchError(f"{directory} has {free:,} bytes free, {required:,} are needed")


def _part_path(final: Path, remote: RemoteFile) -> Path:
    return final.with_name(f".{final.name}.{remote.etag[:12]}.part")


def _matches_etag(path: Path, sha256: str, remote: RemoteFile) -> bool:
    """Whether a file is the hub's, by its sha256, or by git's blob id for a small file."""
    if len(remote.etag) == SHA256_DIGITS:
        return sha256 == remote.etag
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    blob.update(content)
    return blob.hexdigest() == remote.etag


def _sync(path: Path) -> None:
    """Flushes a file to disk, so that no crash leaves an empty file under the final name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _lock_directory(models: Path) -> Iterator[None]:
    """Allows one fetch at a time, since two would append to the same part.

    Raises:
        FetchError: another fetch holds the lock.
    """
    models.mkdir(parents=True, exist_ok=True)
    handle = os.open(models, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FetchError(f"another fetch into {models} is running: wait for it") from None
        yield
    finally:
        os.close(handle)
