"""`t5serve reformulate`: reformulates queries from the command line, a terminal or a file."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, get_args

from tqdm import tqdm

from t5engine.decoding.parameters import PARAMETERS
from t5serve.commands import lines
from t5serve.commands.lines import LineFormat, Query
from t5serve.commands.settings_options import help_text
from t5serve.errors import ERROR_RESPONSES, InvalidRequest, RequestError, UsageError
from t5serve.http.schemas.body import parse
from t5serve.http.schemas.reformulate import (
    ReformulateFields,
    ReformulateRequest,
    require_text,
)
from t5serve.models.models_file import find_declaration
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.candidates import original_candidate
from t5serve.reformulation.options import Options, decoding_of
from t5serve.reformulation.reformulator import QueryResult
from t5serve.settings import Settings

FIELDS = (
    *("task", "n", "strategy", "max_tokens", "preserve", "terms", "min_score"),
    *("min_difference", "include_original", "strict"),
)
NUMBERS = {"integer": (int, "N"), "number": (float, "X")}
FILE_TIMEOUT_MS = 600_000  # nobody waits for one line of a file; many are in flight at once
Outcome = QueryResult | RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds an option per field of /v1/reformulate."""
    parser.add_argument("query", nargs="*", help="a query in quotes; by default each line of stdin")
    properties = ReformulateRequest.model_json_schema()["properties"]
    for name in (*FIELDS, *PARAMETERS):
        _add_field(parser, name, properties[name])
    formats = get_args(LineFormat)
    parser.add_argument(
        "--from", dest="source", choices=formats, default="text", help="format of stdin (text)"
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--to",
        dest="target",
        choices=formats,
        help="format of stdout; by default the format of stdin",
    )
    target.add_argument(
        "--json",
        dest="target",
        action="store_const",
        const="jsonl",
        help="print a line of JSON per query, like --to jsonl",
    )


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


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Reformulates all queries in order.

    Returns:
        The exit status: 1 if some queries were not reformulated, else 0.

    Raises:
        UsageError: the options are invalid.
        RequestError: a line is invalid; if strict, also the error of a query that failed.
        StartupError: the model can't be served.
    """
    request = _parse_request(options)
    queries: Iterator[Query]
    target: LineFormat
    is_interactive = options.query or sys.stdin.isatty()
    if options.query:
        queries = (Query(str(number), text) for number, text in enumerate(options.query, 1))
        target = options.target or "text"
    else:
        if sys.stdin.isatty():
            print("Enter one query per line; Ctrl-D ends.", file=sys.stderr)
        queries = lines.read_queries(sys.stdin, options.source)
        target = options.target or options.source
    failed = reported = 0
    declaration = find_declaration(settings, options.model)
    in_flight = min(settings.max_queue, 2 * settings.max_batch * declaration.workers)
    async with ServedModel.from_settings(settings, declaration) as model:
        timeout_ms = settings.timeout_ms if is_interactive else FILE_TIMEOUT_MS
        try:
            request_options = request.options(timeout_ms, model.profile)
            decoding_of(request_options, model.profile.generation)  # refuses invalid parameters
        except InvalidRequest as error:
            raise UsageError(error.message) from error
        total = None if is_interactive else lines.count_lines(sys.stdin)
        with tqdm(total=total, unit="query", disable=is_interactive or None) as bar:

            def report(query: Query, result: QueryResult) -> None:
                nonlocal failed, reported
                failed += result.fallback_reason is not None
                if reported and request_options.separator and target == "text":
                    print()  # between answers of several queries each
                reported += 1
                print(lines.format_result(query, result, target), end="", flush=True)
                bar.update()

            await _reformulate_in_order(model, in_flight, queries, request_options, report)
    if failed:
        print(f"t5serve: queries that were not reformulated: {failed}", file=sys.stderr)
    return 1 if failed else 0


def _parse_request(options: argparse.Namespace) -> ReformulateFields:
    """Validates the command line like a request."""
    values = {name: getattr(options, name) for name in (*FIELDS, *PARAMETERS)}
    body = {name: value for name, value in values.items() if value is not None}
    try:
        return parse(ReformulateRequest, json.dumps({"query": "any", **body}).encode())
    except InvalidRequest as error:
        raise UsageError(error.message) from error


async def _reformulate_in_order(
    model: ServedModel,
    in_flight: int,
    queries: Iterator[Query],
    options: Options,
    report: Callable[[Query, QueryResult], None],
) -> None:
    """Reformulates so many queries concurrently; reports results in the order of the queries."""
    loop = asyncio.get_running_loop()
    slots = threading.Semaphore(in_flight)
    started: asyncio.Queue[tuple[Query, asyncio.Task[Outcome]] | RequestError | None]
    started = asyncio.Queue()

    def start(query: Query) -> None:
        started.put_nowait((query, loop.create_task(_reformulate(model, query, options))))

    def read() -> None:
        end = None
        with suppress(RuntimeError):  # the loop is closed; the remaining queries are dropped
            try:
                for query in queries:
                    slots.acquire()
                    loop.call_soon_threadsafe(start, query)
            except RequestError as error:
                end = error
            loop.call_soon_threadsafe(started.put_nowait, end)

    # A daemon thread: after Ctrl-C, asyncio waits for its own threads, and so for standard input.
    threading.Thread(target=read, daemon=True).start()
    while (item := await started.get()) is not None:
        if isinstance(item, RequestError):
            raise item
        query, task = item
        outcome = await task
        if isinstance(outcome, RequestError):
            if options.strict:
                raise outcome
            print(f"t5serve: {outcome.message}", file=sys.stderr)
            reason = ERROR_RESPONSES[type(outcome)].code
            outcome = QueryResult(query.text, [original_candidate(query.text)], reason)
        report(query, outcome)
        slots.release()


async def _reformulate(model: ServedModel, query: Query, options: Options) -> Outcome:
    """Reformulates one query; returns an error that names the query instead of raising it."""
    try:
        require_text(query.text)
        (result,) = await model.reformulator.reformulate([query.text], options)
    except ValueError as error:
        return InvalidRequest(f"query {query.id} {error}")
    except RequestError as error:
        return type(error)(f"query {query.id}: {error.message}")
    return result
