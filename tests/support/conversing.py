"""A tiny random T5 with the included vocabulary, to be asked with turns and with documents."""

from __future__ import annotations

from pathlib import Path

from support import tiny
from support.samples import english_vocabulary

VOCABULARY = 8000
CONFIG = tiny.RESTLESS["restless"] | {"vocab_size": VOCABULARY}
JOIN = " ||| "
FRANK_ZAPPA = ["Frank Zappa", "Disbandment", "What group disbanded", "The Mothers of Invention"]
QUESTION = "When did they disband?"


def build(directory: Path) -> Path:
    """Writes the checkpoint into a directory, and returns it."""
    tiny.build_config(CONFIG, directory, restless=True)
    english_vocabulary(directory / "spiece.model")
    return directory
