"""From a fetched checkpoint to verified GGUF files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from t5engine.header import HeaderError, open_checked
from t5gguf.convert import ConvertedFile, Converter
from t5gguf.errors import ConversionError, FetchError
from t5gguf.fetch.fetcher import FetchRequest
from t5gguf.fetch.lock import Pin
from t5gguf.generation_config import read_defaults
from t5gguf.quantize import POLICIES, expand_group_type
from t5gguf.writer import Provenance


def parse_file_types(text: str, request: FetchRequest) -> list[str]:
    """Returns the file types of a list with commas; if empty, the recipe's types, else Q8_0.

    Raises:
        ConversionError: a type is unknown.
        FetchError: the model is ready-made.
    """
    if request.files:
        raise FetchError(f"{request.name} is ready-made: there is nothing to convert")
    defaults = request.recipe.quantisation.types if request.recipe else []
    names = [name.strip() for name in text.split(",") if name.strip()] or defaults or ["Q8_0"]
    for name in names:
        if name not in POLICIES:
            raise ConversionError(f"type {name!r} is not one of {', '.join(POLICIES)}")
    return list(dict.fromkeys(names))


def gguf_path(models: Path, request: FetchRequest, file_type: str) -> Path:
    """Returns the path of a converted file in the directory of models."""
    return models / f"{request.directory_name}-{file_type}.gguf"


def convert(
    models: Path,
    request: FetchRequest,
    pin: Pin,
    file_types: Sequence[str],
    *,
    force: bool = False,
    progress: bool = True,
) -> list[ConvertedFile]:
    """Writes and verifies the files that do not exist yet.

    Args:
        models: the directory of models.
        request: the fetched model.
        pin: the revision that was fetched.
        file_types: the types to convert to.
        force: also overwrite existing files.
        progress: show progress bars.

    Raises:
        ConversionError: the conversion fails, or an existing file is from another source.
    """
    paths = {file_type: gguf_path(models, request, file_type) for file_type in file_types}
    pending = {
        file_type: path
        for file_type, path in paths.items()
        if force or not _is_converted_from(path, pin)
    }
    if not pending:
        return []
    recipe = request.recipe
    directory = models / request.directory_name
    provenance = Provenance(
        name=request.directory_name,
        repo=pin.repo,
        revision=pin.revision,
        license=recipe.license if recipe else "",
        tasks=recipe.tasks if recipe else {},
        rerank=recipe.rerank if recipe else None,
        generation=recipe.generation.given() if recipe else read_defaults(directory).values,
    )
    embedding = recipe.quantisation.token_embedding_type if recipe else None
    is_calibrated = recipe is None or recipe.quantisation.calibration
    converter = Converter(directory, provenance, calibration=None if is_calibrated else [])
    return [
        converter.convert(
            path,
            file_type,
            force=True,
            types=expand_group_type("embedding", embedding) if embedding else None,
            progress=progress,
        )
        for file_type, path in pending.items()
    ]


def _is_converted_from(path: Path, pin: Pin) -> bool:
    """Whether a file exists and was converted from the pinned revision.

    Raises:
        ConversionError: the file is from another source, so it must not be overwritten.
    """
    if not path.exists():
        return False
    try:
        metadata = open_checked(path).metadata
    except HeaderError as error:
        raise ConversionError(f"{error}; --force overwrites it") from error
    if metadata.get("t5serve.source.repo") != pin.repo:
        raise ConversionError(f"{path} was not made from {pin.repo}; --force overwrites it")
    return bool(metadata.get("t5serve.source.revision") == pin.revision)
