"""The file of models: TOML, with a `[[models]]` table for each."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from t5serve.errors import StartupError, excerpt
from t5serve.models.declaration import Declaration
from t5serve.settings import Settings


def _to_path(value: object) -> object:
    return Path(value) if isinstance(value, str) and value else value


def _to_tuple(value: object) -> object:
    """Turns TOML's arrays into tuples, which a frozen model can be compared by."""
    if isinstance(value, dict):
        return {key: _to_tuple(item) for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


class NamedDeclaration(Declaration):
    """A model in a file of models: it needs a name."""

    name: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][\w.:/-]*$")]
    lexicon: Annotated[Path | None, BeforeValidator(_to_path)] = None


class ModelsFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    models: Annotated[list[NamedDeclaration], Field(min_length=1)]


def read_declarations(settings: Settings) -> list[Declaration]:
    """Returns the models to serve, the default first.

    Raises:
        StartupError: the file of models can't be read, or is invalid; the message names the table
            and the key.
    """
    if settings.models_file is None:
        return [Declaration.of_settings(settings)]
    path = settings.models_file
    try:
        declared = _parse(path.read_text("utf-8-sig"))
    except OSError as error:
        raise _fault(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise _fault(path, "is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise _fault(path, f"is not TOML: {error}") from error
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        raise _fault(path, "; ".join(map(_describe, details))) from None
    _refuse_doubled_names(path, declared)
    usual = {"workers": settings.workers, "threads": settings.threads, "lexicon": settings.lexicon}
    return [
        declaration.in_folder(path.parent).model_copy(
            update={name: usual[name] for name in usual.keys() - declaration.model_fields_set}
        )
        for declaration in declared
    ]


def find_declaration(settings: Settings, name: str | None) -> Declaration:
    """Returns the model of a name in the file of models, or the first for None.

    Without a file of models it is the model of the settings.

    Raises:
        StartupError: the file is invalid, or has no such name.
    """
    declarations = read_declarations(settings)
    if settings.models_file is None or name is None:
        return declarations[0]
    for declaration in declarations:
        if declaration.name == name:
            return declaration
    names = ", ".join(str(declaration.name) for declaration in declarations)
    raise _fault(settings.models_file, f"there is no model {name!r}; its models are: {names}")


def _parse(text: str) -> list[NamedDeclaration]:
    document: dict[str, Any] = tomllib.loads(text)
    for table in document.get("models", ()) if isinstance(document.get("models"), list) else ():
        if isinstance(table, dict) and "defaults" in table:
            table["defaults"] = _to_tuple(table["defaults"])
    return ModelsFile.model_validate(document).models


def _refuse_doubled_names(path: Path, declared: list[NamedDeclaration]) -> None:
    first: dict[str, int] = {}
    for index, declaration in enumerate(declared):
        other = first.setdefault(declaration.name, index)
        if other != index:
            name = f"models[{index}].name: {declaration.name!r}"
            raise _fault(path, f"{name} is the name of models[{other}] too")


def _describe(detail: ErrorDetails) -> str:
    """Describes a fault with its table and key: `models[1].threads: ...`."""
    place = ""
    for part in detail["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    if detail["type"] == "extra_forbidden":
        return f"{place}: there is no such key"
    value = detail["input"]
    is_short = isinstance(value, str | int | float) and detail["type"] != "missing"
    return f"{place}: {detail['msg']}" + (f", not {excerpt(repr(value))}" if is_short else "")


def _fault(path: Path, reason: str) -> StartupError:
    return StartupError(f"T5SERVE_MODELS_FILE: {path}: {reason}")
