"""The lock file: which revision of each model was fetched first, and what its files were."""

from __future__ import annotations

from pathlib import Path

import msgspec

from t5gguf.errors import FetchError


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model as it was fetched; sha256 by file name."""

    repo: str
    revision: str
    """The commit's full sha."""
    sha256: dict[str, str]
    asked: str = ""
    """The branch or tag by which that commit was found; empty: the main branch."""


class Lock:
    """Pins by model: a recipe's name, or owner/name without one.

    Args:
        path: the file that `save` writes; it need not be there.
        shipped: the one that came with the recipes, whose pins hold where `path` has none.
    """

    def __init__(self, path: Path, shipped: Path | None = None) -> None:
        self.path = path
        self._shipped = shipped

    def pin(self, name: str) -> Pin | None:
        """What the model is held to.

        Raises:
            FetchError: a lock file does not read as one.
        """
        shipped = _read(self._shipped) if self._shipped else {}
        return (shipped | _read(self.path)).get(name)

    def save(self, name: str, pin: Pin) -> None:
        """Adds or replaces one pin; the file changes as a whole or not at all."""
        pins = _read(self.path) | {name: pin}
        text = msgspec.json.format(msgspec.json.encode(pins, order="sorted"), indent=2)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.part")
        part.write_bytes(text + b"\n")
        part.replace(self.path)


def _read(path: Path) -> dict[str, Pin]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Pin])
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FetchError(f"{path} is not a lock file: {error}") from error
