"""From a fetched checkpoint to verified GGUF files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from t5engine.reader import GGUFFile, ReadError
from t5gguf.convert import Converter, Written
from t5gguf.errors import ConversionError, FetchError
from t5gguf.fetch.fetcher import Wanted
from t5gguf.fetch.lock import Pin
from t5gguf.quantize import POLICIES, group_types
from t5gguf.writer import Provenance


def file_types(text: str, wanted: Wanted) -> list[str]:
    """The types between commas; without any those of the recipe, else Q8_0.

    Raises:
        ConversionError: one of them is unknown.
        FetchError: the model is ready-made.
    """
    if wanted.files:
        raise FetchError(f"{wanted.name} is ready-made: there is nothing to convert")
    usual = wanted.recipe.quantisation.types if wanted.recipe else []
    names = [name.strip() for name in text.split(",") if name.strip()] or usual or ["Q8_0"]
    for name in names:
        if name not in POLICIES:
            raise ConversionError(f"type {name!r} is not one of {', '.join(POLICIES)}")
    return list(dict.fromkeys(names))


def out_path(models: Path, wanted: Wanted, file_type: str) -> Path:
    return models / f"{wanted.directory}-{file_type}.gguf"


def convert(
    models: Path,
    wanted: Wanted,
    pin: Pin,
    types: Sequence[str],
    *,
    force: bool = False,
    progress: bool = True,
) -> list[Written]:
    """Writes and verifies the files that are not there already; the others are left as they are.

    Raises:
        ConversionError: as the converter, or a file of another origin stands in the way.
    """
    paths = {kind: out_path(models, wanted, kind) for kind in types}
    due = {kind: path for kind, path in paths.items() if force or not _made_from(path, pin)}
    if not due:
        return []
    recipe = wanted.recipe
    provenance = Provenance(
        name=wanted.directory,
        repo=pin.repo,
        revision=pin.revision,
        license=recipe.license if recipe else "",
        tasks=recipe.prefixes if recipe else {},
        generation=recipe.generation.given() if recipe else {},
    )
    embedding = recipe.quantisation.token_embedding_type if recipe else None
    calibrated = recipe is None or recipe.quantisation.calibration
    converter = Converter(
        models / wanted.directory, provenance, calibration=None if calibrated else []
    )
    return [
        converter.convert(
            path,
            kind,
            force=True,
            types=group_types("embedding", embedding) if embedding else None,
            progress=progress,
        )
        for kind, path in due.items()
    ]


def _made_from(path: Path, pin: Pin) -> bool:
    """Whether a file was converted from these very files; from others of the repository: no.

    Raises:
        ConversionError: it is of another origin, and not ours to overwrite.
    """
    if not path.exists():
        return False
    try:
        metadata = GGUFFile.open(path).metadata
    except ReadError as error:
        raise ConversionError(f"{error}; --force overwrites it") from error
    if metadata.get("t5serve.source.repo") != pin.repo:
        raise ConversionError(f"{path} was not made from {pin.repo}; --force overwrites it")
    return bool(metadata.get("t5serve.source.revision") == pin.revision)
