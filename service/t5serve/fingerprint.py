"""What answers depend on besides the request: the model's file and this program."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from t5serve import __version__


class Fingerprint:
    """OpenAI's system_fingerprint: of the file's content and the version, found in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._task: asyncio.Task[str] | None = None

    async def text(self) -> str:
        """Reads the file the first time."""
        if self._task is None:
            self._task = asyncio.create_task(asyncio.to_thread(self._find))
        return await asyncio.shield(self._task)

    def _find(self) -> str:
        try:
            with self._path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:  # replaced or removed while it is served
            digest = "unknown"
        return f"fp_{digest[:12]}_{__version__}"
