"""The lock file: the pinned revision of each fetched model, and the hashes of its files."""

from __future__ import annotations

from pathlib import Path

import msgspec

from t5gguf.errors import FetchError


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The revision and files of one fetched model.

    Attributes:
        repo: the repository, owner/name.
        revision: the full sha of the commit.
        sha256: the hash of each file, by file name.
        requested_revision: the branch or tag that the commit was resolved from; empty for the main
            branch. The lock file calls this field "asked".
    """

    repo: str
    revision: str
    sha256: dict[str, str]
    requested_revision: str = msgspec.field(default="", name="asked")


class Lock:
    """The pins of models, by a recipe's name, or by owner/name without a recipe.

    Args:
        path: the lock file that `save` writes; the file need not exist.
        shipped_path: the lock file that came with the recipes. Its pins hold for models without a
            pin in `path`.
    """

    def __init__(self, path: Path, shipped_path: Path | None = None) -> None:
        self.path = path
        self._shipped_path = shipped_path

    def find_pin(self, name: str) -> Pin | None:
        """Returns the pin of a model, if there is one.

        Raises:
            FetchError: a lock file is malformed.
        """
        shipped_pins = _read_pins(self._shipped_path) if self._shipped_path else {}
        return (shipped_pins | _read_pins(self.path)).get(name)

    def save(self, name: str, pin: Pin) -> None:
        """Adds or replaces one pin; the file is replaced atomically."""
        pins = _read_pins(self.path) | {name: pin}
        text = msgspec.json.format(msgspec.json.encode(pins, order="sorted"), indent=2)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.part")
        part.write_bytes(text + b"\n")
        part.replace(self.path)


def _read_pins(path: Path) -> dict[str, Pin]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Pin])
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FetchError(f"{path} is not a lock file: {error}") from error
