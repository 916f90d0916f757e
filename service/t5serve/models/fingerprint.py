"""The fingerprint of a model: the content of its file and the version of t5serve."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import cast

from t5serve import __version__


class Fingerprint:
    """OpenAI's `system_fingerprint`, computed in a thread because the whole file is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._task: asyncio.Task[str] | None = None

    def start(self) -> None:
        """Starts to read the file."""
        self._task = asyncio.create_task(asyncio.to_thread(self._compute))

    async def text(self) -> str:
        """Returns the fingerprint, after the file is read."""
        if self._task is None:
            self.start()
        return await asyncio.shield(cast("asyncio.Task[str]", self._task))

    def _compute(self) -> str:
        try:
            with self._path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:  # the file was removed while the service runs
            digest = "unknown"
        return f"fp_{digest[:12]}_{__version__}"
