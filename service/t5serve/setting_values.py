"""Describes which values a setting takes, for its documentation and for errors."""

from __future__ import annotations

from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import DirectoryPath
from pydantic.fields import FieldInfo

from t5serve.errors import excerpt

ARTICLES = {
    "integer": "an ",
    "text": "",
    **dict.fromkeys(("directory", "number", "list", "path", "rate"), "a "),
}


def describe_values(field: FieldInfo, mark: str = "") -> str:
    """Returns which values a setting takes, such as `integer, 0 to 65535`.

    Args:
        field: the setting.
        mark: surrounds each value of a setting that has a few.
    """
    values, bounds = _describe_type(field.annotation, mark), _read_bounds(field)
    if "min_length" in bounds:
        return f"{values}, not empty"
    low = bounds.get("ge", bounds.get("gt"))
    high = bounds.get("le")
    if low is None or values not in ("integer", "number"):
        return values
    if high is not None:
        return f"{values}, {low} to {high}"
    return f"{values}, {'above' if 'gt' in bounds else 'at least'} {low}"


def describe_fault(field: FieldInfo, value: object) -> str:
    """Returns what is wrong with a value: what it is, and what the setting takes."""
    values = describe_values(field)
    article = ARTICLES.get(values.partition(",")[0], "one of ")
    return f"{excerpt(repr(value))} is not valid; expected {article}{values}"


def _read_bounds(field: FieldInfo) -> dict[str, Any]:
    metadata = [*field.metadata, *_list_metadata(field.annotation)]
    return {
        name: getattr(item, name)
        for item in metadata
        for name in ("ge", "gt", "le", "min_length")
        if getattr(item, name, None) is not None
    }


def _list_metadata(annotation: Any) -> list[Any]:  # noqa: ANN401 - any type
    """Returns what `Annotated` says in a type, however deep."""
    metadata: list[Any] = []
    if get_origin(annotation) is Annotated:
        for item in annotation.__metadata__:
            metadata += getattr(item, "metadata", [])
    for argument in get_args(annotation):
        metadata += _list_metadata(argument)
    return metadata


def _describe_type(annotation: Any, mark: str) -> str:  # noqa: ANN401 - any type
    if annotation is DirectoryPath:
        return "directory"
    if get_origin(annotation) is Annotated:
        return _describe_type(get_args(annotation)[0], mark)
    if get_origin(annotation) in (Union, UnionType):
        (inner,) = [part for part in get_args(annotation) if part is not NoneType]
        return _describe_type(inner, mark)
    if get_origin(annotation) is Literal:
        return ", ".join(f"{mark}{value}{mark}" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "list"
    return {int: "integer", float: "number", str: "text", Path: "path"}.get(annotation, "rate")
