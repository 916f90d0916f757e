"""The base classes of bodies, the error body, and the parser of request bodies."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from t5serve.errors import InvalidRequest, excerpt


def _whole_number(value: object) -> object:
    """Turns 16.0 into 16: JSON has one type of number (RFC 8259, 6)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
WHOLE = BeforeValidator(_whole_number)
"""Stands last in the annotation of an integer, so that the schema has the bounds."""
MAX_N = 16  # answers to one input
MAX_LIST = 1024  # items of a list; settings bound lists further, this bound ends long parsing early

ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a surrogate pair
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half a pair
    rb"|.)",
    re.DOTALL,
)
Body = TypeVar("Body", bound="RequestBody")


class DescribedBody(BaseModel):
    """A body whose attribute docstrings become the descriptions of its fields."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class RequestBody(DescribedBody):
    """A body that refuses unknown fields, and booleans or strings in place of numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class UsageBody(DescribedBody):
    """The number of tokens that a request used."""

    prompt_tokens: int
    """The tokens of all inputs, each with its end token `</s>`."""
    completion_tokens: int
    """The tokens of all decoded sequences without `</s>`, dropped sequences included."""
    total_tokens: int
    """The sum of `prompt_tokens` and `completion_tokens`."""


class ErrorBody(DescribedBody):
    """An error, and the request field that caused it."""

    message: str
    """What went wrong, in one sentence for people."""
    type: str
    """The class of the error, which follows from the HTTP status."""
    param: str | None
    """The request field that caused the error; null if no single field did."""
    code: str | None
    """The error code, for programs; null for an internal error."""


class ErrorResponse(DescribedBody):
    """The body of every error response."""

    error: ErrorBody
    """The error."""


def refusal(param: str, message: str) -> PydanticCustomError:
    """Returns an error of a validator that sees several fields; `param` is the one at fault."""
    return PydanticCustomError("field", "{message}", {"message": message, "params": [param]})


def parse(model: type[Body], raw: bytes) -> Body:
    """Parses the JSON body of a request.

    A byte order mark is skipped, as RFC 8259, 8.1, allows. Half of a surrogate pair, which is left
    where JavaScript cuts a text, becomes U+FFFD, as in `String.prototype.toWellFormed`.

    Raises:
        InvalidRequest: the body is invalid; the error names the first fault and its field.
    """
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    mended = _replace_half_pairs(raw) if first["type"] == "json_invalid" else raw
    if mended != raw:
        return parse(model, mended)
    raise InvalidRequest(_message(first), param=_path(first))


def _replace_half_pairs(raw: bytes) -> bytes:
    return ESCAPE.sub(lambda match: b"\\ufffd" if match[1] else match[0], raw)


def _message(error: ErrorDetails) -> str:
    if error["type"] == "json_invalid":
        return f"the body is not JSON: {error['msg'].removeprefix('Invalid JSON: ')}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "unknown field"
    path = _path(error)
    return message if path is None or message.startswith(f"{path} ") else f"{path}: {message}"


def _path(error: ErrorDetails) -> str | None:
    """Formats the location of an error: ("queries", 0, "text") becomes `queries[0].text`."""
    path = ""
    for part in (*error["loc"], *error.get("ctx", {}).get("params", ())):
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return excerpt(path.lstrip(".")) or None
