"""The pipeline of a tokenizer in the metadata of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t5engine.tokenization.added_tokens import AddedFlag, AddedToken
from t5engine.tokenization.tokenizer import Pipeline

PREFIX = "t5serve.tokenizer"
ADDED_IDS, ADDED_FLAGS = f"{PREFIX}.added_ids", f"{PREFIX}.added_flags"
SCHEMES = ("always", "first", "never")
REQUIRED = ("keeps_space", "joins_added", "merges_spaces", "strips_end", "splits_words")
CLEANS_UP_SPACES = f"{PREFIX}.cleans_up_spaces"
OPTIONAL = ("keeps_first_space", "cleans_up_spaces")  # which the first files with the others lack
WRITTEN = (*REQUIRED, "keeps_first_space")


def format_pipeline(pipeline: Pipeline) -> dict[str, str | bool | list[int]]:
    """Returns the metadata that describes a pipeline; defaults of later keys are left out."""
    metadata: dict[str, str | bool | list[int]] = {
        f"{PREFIX}.prepend_scheme": pipeline.prepend_scheme
    }
    metadata |= {f"{PREFIX}.{switch}": getattr(pipeline, switch) for switch in WRITTEN}
    if pipeline.cleans_up_spaces:
        metadata[CLEANS_UP_SPACES] = True
    if pipeline.added:
        metadata[ADDED_IDS] = [token.id for token in pipeline.added]
        metadata[ADDED_FLAGS] = [int(token.flags) for token in pipeline.added]
    return metadata


def read_pipeline(metadata: Mapping[str, Any]) -> Pipeline | None:
    """Reads the pipeline of a file; None if the file says nothing about it.

    Raises:
        ValueError: a value is not of its type, or an id is not one of a token.
    """
    scheme = metadata.get(f"{PREFIX}.prepend_scheme")
    if scheme is None:
        return None
    if scheme not in SCHEMES:
        raise ValueError(f"{PREFIX}.prepend_scheme is {scheme!r}, not one of {', '.join(SCHEMES)}")
    switches = {name: metadata.get(f"{PREFIX}.{name}") for name in REQUIRED}
    switches |= {name: metadata.get(f"{PREFIX}.{name}", False) for name in OPTIONAL}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise ValueError(f"{PREFIX}.{name} is {value!r}, not true or false")  # noqa: TRY004
    tokens = metadata.get("tokenizer.ggml.tokens", ())
    ids = [int(index) for index in metadata.get(ADDED_IDS, ())]
    flags = [int(flag) for flag in metadata.get(ADDED_FLAGS, ())]
    if len(ids) != len(flags) or not all(0 <= index < len(tokens) for index in ids):
        raise ValueError(f"{ADDED_IDS} does not fit the tokens")
    return Pipeline(scheme, **switches, added=_build_added(tokens, ids, flags))  # type: ignore[arg-type]


def _build_added(
    tokens: Sequence[str], ids: Sequence[int], flags: Sequence[int]
) -> tuple[AddedToken, ...]:
    return tuple(
        AddedToken(index, str(tokens[index]), AddedFlag(flag & 31))
        for index, flag in zip(ids, flags, strict=True)
    )
