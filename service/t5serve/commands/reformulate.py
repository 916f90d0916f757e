"""`t5serve reformulate`: reformulates queries from the command line, a terminal or a file."""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import get_args

from tqdm import tqdm

from t5serve.commands import lines
from t5serve.commands.lines import LineFormat, Query
from t5serve.commands.request_options import add_request_options, parse_request
from t5serve.errors import ERROR_RESPONSES, InvalidRequest, RequestError, UsageError
from t5serve.http.schemas.reformulate import require_text
from t5serve.models.models_file import find_declaration
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.candidates import original_candidate
from t5serve.reformulation.options import Options, decoding_of
from t5serve.reformulation.results import QueryResult
from t5serve.settings import Settings

FILE_TIMEOUT_MS = 600_000  # nobody waits for one line of a file; many are in flight at once
Outcome = QueryResult | RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds an option per field of /v1/reformulate."""
    parser.add_argument("query", nargs="*", help="a query in quotes; by default each line of stdin")
    strict_help = "stop at the first query that fails"
    add_request_options(parser, strict_help=strict_help, has_history=True)
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


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Reformulates all queries in order.

    Returns:
        The exit status: 1 if some queries were not reformulated, else 0.

    Raises:
        UsageError: the options are invalid.
        RequestError: a line is invalid; if strict, also the error of a query that failed.
        StartupError: the model can't be served.
    """
    request = parse_request(options)
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
    async with ServedModel.from_settings(settings, declaration) as model:
        in_flight = min(settings.max_queue, 2 * settings.max_batch * len(model.engine.shares))
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
                _tell_unchanged(query, result)
                if reported and request_options.separator and target == "text":
                    print()  # between answers of several queries each
                reported += 1
                print(lines.format_result(query, result, target), end="", flush=True)
                bar.update()

            await _reformulate_in_order(model, in_flight, queries, request_options, report)
    if failed:
        print(f"t5serve: queries that were not reformulated: {failed}", file=sys.stderr)
    return 1 if failed else 0


def _tell_unchanged(query: Query, result: QueryResult) -> None:
    """Names a query that comes back as it was, with the reason."""
    reason = result.fallback_reason or result.unchanged_reason
    if reason is not None:
        print(f"t5serve: query {query.id} came back unchanged: {reason}", file=sys.stderr)


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
