"""The base classes of bodies, the error body, and the parser of request bodies."""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from t5serve.errors import InvalidRequest

Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
MAX_N = 16  # answers to one input
MAX_LIST = 1024  # items of a list; settings bound lists further, this bound ends long parsing early

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


def parse(model: type[Body], raw: bytes) -> Body:
    """Parses the JSON body of a request.

    Raises:
        InvalidRequest: the body is invalid; the error names the first fault and its field.
    """
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise InvalidRequest(_message(first), param=_path(first)) from None


def _message(error: ErrorDetails) -> str:
    if error["type"] == "json_invalid":
        return f"the body is not JSON: {error['msg'].removeprefix('Invalid JSON: ')}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "unknown field"
    path = _path(error)
    return f"{path}: {message}" if path else message


def _path(error: ErrorDetails) -> str | None:
    """Formats the location of an error: ("queries", 0, "text") becomes `queries[0].text`."""
    path = ""
    for part in error["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".") or None
