"""Options of the command line that are the fields of /v1/reformulate."""

from __future__ import annotations

import argparse
import json
from typing import Any, get_args

from t5engine.decoding.parameters import PARAMETERS
from t5serve.http.schemas.body import parse
from t5serve.http.schemas.reformulate import ReformulateFields, ReformulateRequest
from t5serve.reformulation.guards.guards import PRESERVED
from t5serve.reformulation.options import Strategy

FIELDS = (
    *("task", "n", "strategy", "max_tokens", "preserve", "terms", "min_score"),
    *("min_difference", "include_original", "strict"),
)


def add_request_options(parser: argparse.ArgumentParser, *, strict_help: str) -> None:
    """Adds an option per field."""
    parser.add_argument("--task", help="one of the model's tasks")
    parser.add_argument("--strategy", choices=get_args(Strategy))
    parser.add_argument("-n", type=int, help="reformulations per query, 1 to 16")
    parser.add_argument("--max-tokens", type=int, metavar="N")
    parser.add_argument("--min-difference", type=float, metavar="X")
    for name, row in PARAMETERS.items():
        metavar = "N" if row.value_type is int else "X"
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=row.value_type,
            metavar=metavar,
            help=row.parameter.help,
        )
    parser.add_argument(
        "--preserve", nargs="*", choices=PRESERVED, help="what a reformulation must keep"
    )
    parser.add_argument("--terms", nargs="+", help="words that a reformulation must have")
    parser.add_argument("--min-score", type=float, metavar="X", help="least score, 0 or below")
    parser.add_argument("--include-original", action="store_true", default=None)
    parser.add_argument("--strict", action="store_true", help=strict_help)


def request_values(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the fields that the command line sets."""
    values = {name: getattr(options, name) for name in (*FIELDS, *PARAMETERS)}
    return {name: value for name, value in values.items() if value is not None}


def parse_request(options: argparse.Namespace) -> ReformulateFields:
    """Checks the command line like a request.

    Raises:
        InvalidRequest: an option is invalid.
    """
    body = {"query": "any", **request_values(options)}
    return parse(ReformulateRequest, json.dumps(body).encode())
