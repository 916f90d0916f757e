"""Options of the command line that are the fields of /v1/reformulate."""

from __future__ import annotations

import argparse
import json
from typing import Any

from t5engine.decoding.parameters import PARAMETERS
from t5serve.commands.settings_options import help_text
from t5serve.errors import InvalidRequest, UsageError
from t5serve.http.schemas.body import parse
from t5serve.http.schemas.reformulate import ReformulateFields, ReformulateRequest

FIELDS = (
    *("task", "n", "strategy", "max_tokens", "preserve", "terms", "min_score"),
    *("min_difference", "include_original", "strict"),
)
NUMBERS = {"integer": (int, "N"), "number": (float, "X")}


def add_request_options(
    parser: argparse.ArgumentParser, *, strict_help: str, has_history: bool = False
) -> None:
    """Adds an option per field.

    Args:
        parser: of the command.
        strict_help: what `strict` does, which depends on the command.
        has_history: whether the command takes the turns of one conversation.
    """
    properties = ReformulateRequest.model_json_schema()["properties"]
    properties["strict"]["description"] = strict_help
    for name in (*FIELDS, *PARAMETERS):
        _add_field(parser, name, properties[name])
    if has_history:
        _add_field(parser, "history", properties["history"])


def _add_field(parser: argparse.ArgumentParser, name: str, schema: dict[str, Any]) -> None:
    """Adds the option of a field: its type, its choices and the first sentence of its help."""
    option = "-n" if name == "n" else f"--{name.replace('_', '-')}"
    first_sentence = help_text(schema["description"].partition(". ")[0])
    value: dict[str, Any] = next(
        choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"
    )
    settings: dict[str, Any] = {"choices": value.get("enum")}
    if value["type"] == "boolean":
        settings = {"action": "store_true", "default": None}
    elif value["type"] == "array":
        choices = value["items"].get("enum")
        settings = {"nargs": "*" if choices else "+", "choices": choices}
    elif value["type"] in NUMBERS:
        number, metavar = NUMBERS[value["type"]]
        settings = {"type": number, "metavar": metavar}
    parser.add_argument(option, help=first_sentence, **settings)


def request_values(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the fields that the command line sets."""
    names = (*FIELDS, "history", *PARAMETERS)
    values = {name: getattr(options, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def parse_request(options: argparse.Namespace) -> ReformulateFields:
    """Checks the command line like a request.

    Raises:
        UsageError: an option is invalid.
    """
    body = {"query": "any", **request_values(options)}
    try:
        return parse(ReformulateRequest, json.dumps(body).encode())
    except InvalidRequest as error:
        raise UsageError(error.message) from error
