"""Reading a request's body into a model, with the contract's errors."""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from t5serve.errors import InvalidRequest

Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
MAX_N = 16  # of answers to one input
MAX_LIST = 1024  # of anything: a setting has the finer bound, this one ends long parsing early

Body = TypeVar("Body", bound="RequestBody")


class Described(BaseModel):
    """A body whose fields say in the API's description what they are."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class RequestBody(Described):
    """A body whose unknown fields are refused, and whose numbers are no booleans or strings."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class UsageBody(Described):
    """Tokens: of the inputs with their `</s>`, of all decoded sequences without."""

    prompt_tokens: int
    """Of all inputs, with their end mark."""
    completion_tokens: int
    """Of all decoded sequences, also of dropped ones."""
    total_tokens: int
    """Both."""


class ErrorBody(Described):
    """What went wrong, and with which field."""

    message: str
    """What to do about it, in a sentence."""
    type: str
    """The kind of error, by the status."""
    param: str | None
    """The field at fault."""
    code: str | None
    """The error, for programs."""


class ErrorResponse(Described):
    """The one shape of every error."""

    error: ErrorBody
    """What went wrong."""


def parse(kind: type[Body], raw: bytes) -> Body:
    """Reads JSON.

    Raises:
        InvalidRequest: names the first fault and its field.
    """
    try:
        return kind.model_validate_json(raw)
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
    """`queries[0].text` for ("queries", 0, "text")."""
    path = ""
    for part in error["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".") or None
