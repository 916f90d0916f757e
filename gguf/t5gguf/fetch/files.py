"""The files of a repository that a conversion needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import PurePosixPath

from t5gguf.errors import FetchError
from t5gguf.tokenizer_files import SPIECE_FILES
from t5gguf.weights import WEIGHT_FILES

VOCABULARY_FILES = (*SPIECE_FILES, "tokenizer.json")
# Read as well where they are: what the tokenizer does, added tokens, generation defaults.
OTHER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "generation_config.json",
)


def select_files(repo: str, files: Collection[str], read: Callable[[str], bytes]) -> list[str]:
    """Returns the files of a checkpoint's configuration, tokenizer and weights.

    Args:
        repo: the repository, for errors.
        files: the names of the repository's files.
        read: returns the content of a file, for the names of shards in an index.

    Raises:
        FetchError: the repository lacks a file; the message says which.
    """
    candidates = (name for file in WEIGHT_FILES for name in (file, f"{file}.index.json"))
    weights = next((name for name in candidates if name in files), None)
    vocabulary = next((name for name in VOCABULARY_FILES if name in files), None)
    if "config.json" not in files or weights is None or vocabulary is None:
        ready_made = sorted(name for name in files if name.endswith(".gguf"))
        if ready_made:
            raise FetchError(
                f"{repo} has GGUF files, choose one with --file: {', '.join(ready_made)}"
            )
        raise FetchError(
            f"{repo} has no checkpoint that can be converted: a checkpoint has config.json, one of "
            f"{', '.join(WEIGHT_FILES)} (or its index), and one of {', '.join(VOCABULARY_FILES)}"
        )
    others = [name for name in OTHER_FILES if name in files and name != vocabulary]
    shards = _parse_shards(repo, read(weights)) if weights.endswith(".json") else []
    missing = [shard for shard in shards if shard not in files]
    if missing:
        raise FetchError(f"{repo} lacks shards that {weights} names: {', '.join(missing)}")
    return ["config.json", vocabulary, *others, weights, *shards]


def local_name(name: str) -> str:
    """Returns a file's name on disk: the last part of its path in the repository."""
    return PurePosixPath(name).name


def _parse_shards(repo: str, index: bytes) -> list[str]:
    try:
        shards = sorted({str(shard) for shard in json.loads(index)["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(f"{repo} has a malformed index of weights") from error
    if any(local_name(shard) != shard for shard in shards):
        raise FetchError(f"{repo} has an index of weights that names files in other directories")
    return shards
