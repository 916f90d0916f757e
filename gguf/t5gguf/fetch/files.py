"""Which files of a repository a conversion needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import PurePosixPath

from t5gguf.errors import FetchError
from t5gguf.vocab import SPIECE_FILES

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
VOCABULARIES = (*SPIECE_FILES, "tokenizer.json")
BESIDE = ("tokenizer_config.json", "added_tokens.json")


def needed(repo: str, files: Collection[str], read: Callable[[str], bytes]) -> list[str]:
    """Configuration, vocabulary and weights of a checkpoint; an index is read for its shards.

    Raises:
        FetchError: says what the repository lacks.
    """
    weights = next(
        (name for one in WEIGHTS for name in (one, f"{one}.index.json") if name in files), None
    )
    vocabulary = next((name for name in VOCABULARIES if name in files), None)
    if "config.json" not in files or weights is None or vocabulary is None:
        ready_made = sorted(name for name in files if name.endswith(".gguf"))
        if ready_made:
            raise FetchError(
                f"{repo} has GGUF files, take one with --file: {', '.join(ready_made)}"
            )
        raise FetchError(
            f"{repo} has no checkpoint that can be converted: it takes config.json, one of "
            f"{', '.join(WEIGHTS)} (or its index), and one of {', '.join(VOCABULARIES)}"
        )
    beside = [name for name in BESIDE if name in files]
    shards = _shards(repo, read(weights)) if weights.endswith(".json") else []
    missing = [shard for shard in shards if shard not in files]
    if missing:
        raise FetchError(f"{repo} lacks what its {weights} names: {', '.join(missing)}")
    return ["config.json", vocabulary, *beside, weights, *shards]


def local_name(name: str) -> str:
    """A file's name on disk: the last part, wherever it stands in the repository."""
    return PurePosixPath(name).name


def _shards(repo: str, index: bytes) -> list[str]:
    try:
        shards = sorted({str(shard) for shard in json.loads(index)["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(f"{repo} has an index of weights that does not read as one") from error
    if any(local_name(shard) != shard for shard in shards):
        raise FetchError(f"{repo} has an index of weights that names files elsewhere")
    return shards
