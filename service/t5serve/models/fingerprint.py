"""What answers depend on besides the request: the model's file and this program."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import cast

from t5serve import __version__


class Fingerprint:
    """OpenAI's system_fingerprint: of the file's content and the version, found in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._task: asyncio.Task[str] | None = None

    def start(self) -> None:
        """Begins to read the file."""
        self._task = asyncio.create_task(asyncio.to_thread(self._find))

    async def text(self) -> str:
        """Waits for it, if need be."""
        if self._task is None:
            self.start()
        return await asyncio.shield(cast("asyncio.Task[str]", self._task))

    def _find(self) -> str:
        try:
            with self._path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:  # replaced or removed while it is served
            digest = "unknown"
        return f"fp_{digest[:12]}_{__version__}"
