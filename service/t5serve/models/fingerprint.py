"""The fingerprint of a model: the content of its file and the version of t5serve."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import cast

from t5serve import __version__


class Fingerprint:
    """OpenAI's `system_fingerprint`, computed in a thread because the whole file is read.

    It also tells whether the file is still the one that was loaded first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._task: asyncio.Task[str] | None = None
        self._stat: tuple[int, ...] | None = None

    def start(self) -> None:
        """Starts to read the file."""
        self._stat = self._read_stat()
        self._task = asyncio.create_task(asyncio.to_thread(self._compute))

    async def text(self) -> str:
        """Returns the fingerprint, after the file is read."""
        if self._task is None:
            self.start()
        return await asyncio.shield(cast("asyncio.Task[str]", self._task))

    async def is_unchanged(self) -> bool:
        """Whether the file is the same, by inode, size and time, else by its content."""
        if self._stat is None:
            return True
        stat = self._read_stat()
        if stat == self._stat:
            return True
        if stat is None or await asyncio.to_thread(self._compute) != await self.text():
            return False
        self._stat = stat  # a copy
        return True

    def _read_stat(self) -> tuple[int, ...] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def _compute(self) -> str:
        try:
            with self._path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:  # the file was removed while the service runs
            digest = "unknown"
        return f"fp_{digest[:12]}_{__version__}"
