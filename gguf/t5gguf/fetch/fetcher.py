"""Brings one model's files into a directory, as the lock file has them or for the first time."""

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

from t5gguf.checkpoint import sha256
from t5gguf.errors import FetchError
from t5gguf.fetch.files import local_name, needed
from t5gguf.fetch.hub import SHA256, Hub, Listing, RemoteFile
from t5gguf.fetch.lock import Lock, Pin
from t5gguf.recipe import Recipe


@dataclass(frozen=True)
class Wanted:
    """What is to be fetched.

    Attributes:
        revision: a commit, branch or tag; empty for the pinned one, else the main branch.
        files: GGUF files, in place of a checkpoint.
        sha256: what the recipe says of some files.
    """

    repo: str
    revision: str = ""
    files: tuple[str, ...] = ()
    sha256: dict[str, str] = field(default_factory=dict)
    recipe: Recipe | None = None

    @property
    def name(self) -> str:
        """Its name in the lock file."""
        return self.recipe.name if self.recipe else self.repo

    @property
    def directory(self) -> str:
        return self.name.replace("/", "--")


class Fetcher:
    """Fetches into a directory of models; without a hub only what is there counts."""

    def __init__(self, hub: Hub | None, lock: Lock, models: Path) -> None:
        self._hub, self._lock, self._models = hub, lock, models

    def directory(self, wanted: Wanted) -> Path:
        return self._models / wanted.directory

    def is_there(self, wanted: Wanted) -> bool:
        """Whether all pinned files are in place; their content is not looked at."""
        pin = self._lock.pin(wanted.name)
        if pin is None or not {local_name(name) for name in wanted.files} <= pin.sha256.keys():
            return False
        return all((self.directory(wanted) / name).is_file() for name in pin.sha256)

    def fetch(self, wanted: Wanted, *, update: bool = False) -> Pin:
        """Files appear when all of them are verified; the lock file has them from then on.

        Args:
            wanted: the model.
            update: do not hold it to the lock file, but pin what there is now.

        Raises:
            FetchError: something else than what is pinned, or as the hub says.
        """
        pin = None if update else self._lock.pin(wanted.name)
        if pin is not None and pin.repo != wanted.repo:
            raise FetchError(self._differs(wanted, f"{pin.repo} instead of {wanted.repo}"))
        held = pin is not None and wanted.revision in ("", pin.revision, pin.asked)
        if pin is not None and held and self.is_there(wanted) and self._intact(wanted, pin):
            return pin
        if self._hub is None:
            raise FetchError(
                f"{wanted.name} is not here as a whole, and nothing is downloaded offline: "
                "run this without --offline and HF_HUB_OFFLINE"
            )
        revision = pin.revision if pin and held else wanted.revision or "main"
        listing = self._hub.listing(wanted.repo, revision)
        if pin is not None and listing.revision != pin.revision:
            other = f"revision {pin.revision} instead of {listing.revision}"
            raise FetchError(self._differs(wanted, other))
        with _alone(self._models):
            return self._bring(self._hub, wanted, listing, pin)

    def _bring(self, hub: Hub, wanted: Wanted, listing: Listing, pin: Pin | None) -> Pin:
        directory = self.directory(wanted)
        directory.mkdir(parents=True, exist_ok=True)
        held = {**wanted.sha256, **(pin.sha256 if pin else {})}
        names = list(wanted.files) or needed(
            wanted.repo,
            listing.files,
            lambda index: self._stage(hub, wanted, hub.file(listing, index), held)[0].read_bytes(),
        )
        absent = [name for name in names if name not in listing.files]
        if absent:
            raise FetchError(f"{wanted.repo} has no file {absent[0]} at {listing.revision}")
        remotes = [hub.file(listing, name) for name in names]
        self._check_room(directory, remotes)
        staged = {
            local_name(remote.name): self._stage(hub, wanted, remote, held) for remote in remotes
        }
        for name, (path, _) in staged.items():
            path.replace(directory / name)
        for leftover in directory.glob(".*.part"):
            leftover.unlink()
        hashes = {name: sha for name, (_, sha) in staged.items()}
        if pin is None:
            found = Pin(wanted.repo, listing.revision, hashes, wanted.revision)
        else:
            found = msgspec.structs.replace(pin, sha256={**pin.sha256, **hashes})
        if found != pin:
            self._lock.save(wanted.name, found)
        return found

    def _stage(
        self, hub: Hub, wanted: Wanted, remote: RemoteFile, held: dict[str, str]
    ) -> tuple[Path, str]:
        """A verified file of the wanted content, in place or beside it, and its sha256."""
        name = local_name(remote.name)
        expected = held.get(name)
        if expected and len(remote.etag) == SHA256 and remote.etag != expected:
            raise FetchError(self._differs(wanted, f"{name} with another sha256"))
        final = self.directory(wanted) / name
        part = final.with_name(f".{name}.{remote.etag[:12]}.part")
        for path in (final, part):
            if path.is_file() and path.stat().st_size == remote.size:
                found = sha256(path)
                if _is(path, found, remote) and expected in (None, found):
                    return path, found
        if part.exists() and part.stat().st_size >= remote.size:
            part.unlink()
        hub.download(remote, part)
        found = sha256(part)
        if not _is(part, found, remote):
            part.unlink()
            raise FetchError(
                f"{remote.name} of {remote.repo} arrived damaged, its hash is not the hub's: "
                "run this again"
            )
        if expected not in (None, found):
            part.unlink()
            raise FetchError(self._differs(wanted, f"{name} with another sha256"))
        _sync(part)
        return part, found

    def _differs(self, wanted: Wanted, what: str) -> str:
        return (
            f"{wanted.name} is not what {self._lock.path} or its recipe holds it to, which is "
            f"{what}: --update pins what there is now"
        )

    def _intact(self, wanted: Wanted, pin: Pin) -> bool:
        directory = self.directory(wanted)
        return all(sha256(directory / name) == expected for name, expected in pin.sha256.items())

    def _check_room(self, directory: Path, remotes: Collection[RemoteFile]) -> None:
        size = 0
        for remote in remotes:
            name = local_name(remote.name)
            final = directory / name
            if final.is_file() and final.stat().st_size == remote.size:
                continue
            part = final.with_name(f".{name}.{remote.etag[:12]}.part")
            size += remote.size - (part.stat().st_size if part.exists() else 0)
        free = shutil.disk_usage(directory).free
        if free < size:
            raise FetchError(f"{directory} has {free:,} bytes free, {size:,} are needed")


def _is(path: Path, found: str, remote: RemoteFile) -> bool:
    """Whether a file is the hub's: by sha256, or by git's blob id for a small one."""
    if len(remote.etag) == SHA256:
        return found == remote.etag
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    blob.update(content)
    return blob.hexdigest() == remote.etag


def _sync(path: Path) -> None:
    """To the disk itself, so that no crash leaves an empty file under the final name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _alone(models: Path) -> Iterator[None]:
    """One fetch at a time: two would append to the same part."""
    models.mkdir(parents=True, exist_ok=True)
    handle = os.open(models, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FetchError(f"another fetch into {models} is under way: wait for it") from None
        yield
    finally:
        os.close(handle)
