"""`t5serve reformulate`: queries from the command line, a terminal or a file."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import get_args

from tqdm import tqdm

from t5engine.decoding.parameters import PARAMETERS
from t5serve.commands import lines
from t5serve.commands.lines import LineFormat, Query
from t5serve.errors import ERROR_RESPONSES, InvalidRequest, RequestError
from t5serve.http.schemas.body import parse
from t5serve.http.schemas.reformulate import ReformulateRequest, require_text
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.candidates import original_candidate
from t5serve.reformulation.options import Options, Strategy, decoding_of
from t5serve.reformulation.preserve import ConstraintType
from t5serve.reformulation.reformulator import QueryResult
from t5serve.settings import Settings

FIELDS = (
    *("task", "n", "strategy", "max_tokens", "preserve", "min_difference"),
    *("include_original", "strict"),
)
Outcome = QueryResult | RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The endpoint's fields, as options."""
    parser.add_argument("query", nargs="*", help="quote it; without one, a line of stdin each")
    parser.add_argument("--task", help="one of the model's tasks")
    parser.add_argument("--strategy", choices=get_args(Strategy))
    parser.add_argument("-n", type=int, help="reformulations of a query, 1 to 16")
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
    parser.add_argument("--preserve", nargs="+", choices=get_args(ConstraintType))
    parser.add_argument("--include-original", action="store_true", default=None)
    parser.add_argument("--strict", action="store_true", help="stop at a query that fails")
    formats = get_args(LineFormat)
    parser.add_argument("--from", dest="source", choices=formats, default="text", help="of stdin")
    parser.add_argument("--to", dest="target", choices=formats, help="of stdout; as --from")


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Reformulates all queries in their order; 1 if some came back as they were, else 0.

    Raises:
        RequestError: options that can't be; if strict, a query that failed.
        StartupError: the model can't be served.
    """
    wanted = _options(settings, options)
    queries: Iterator[Query]
    target: LineFormat
    by_hand = options.query or sys.stdin.isatty()
    if options.query:
        queries = (Query(str(number), text) for number, text in enumerate(options.query, 1))
        target = options.target or "text"
    else:
        if sys.stdin.isatty():
            print("A query a line; Ctrl-D ends.", file=sys.stderr)
        queries = lines.read(sys.stdin, options.source)
        target = options.target or options.source
    failed = 0
    async with ServedModel.from_settings(settings) as model:
        model.profile.task(wanted.task)  # these two refuse what can't be, before anything runs
        decoding_of(wanted, model.profile.generation)
        total = None if by_hand else lines.total(sys.stdin)
        with tqdm(total=total, unit="query", disable=by_hand or None) as bar:

            def tell(query: Query, result: QueryResult) -> None:
                nonlocal failed
                failed += result.fallback_reason is not None
                print(lines.write(query, result, target), end="", flush=True)
                bar.update()

            await _in_order(model, settings, queries, wanted, tell)
    if failed:
        print(f"t5serve: {failed} of the queries came back as they were", file=sys.stderr)
    return 1 if failed else 0


def _options(settings: Settings, options: argparse.Namespace) -> Options:
    """Checked as a request is."""
    values = {name: getattr(options, name) for name in (*FIELDS, *PARAMETERS)}
    body = {name: value for name, value in values.items() if value is not None}
    request = parse(ReformulateRequest, json.dumps({"query": "any", **body}).encode())
    return request.options(settings.timeout_ms)


async def _in_order(
    model: ServedModel,
    settings: Settings,
    queries: Iterator[Query],
    wanted: Options,
    tell: Callable[[Query, QueryResult], None],
) -> None:
    """Keeps the workers busy, while results are told in the order of the queries."""
    loop = asyncio.get_running_loop()
    places = threading.Semaphore(min(settings.max_queue, 2 * settings.max_batch * settings.workers))
    begun: asyncio.Queue[tuple[Query, asyncio.Task[Outcome]] | RequestError | None]
    begun = asyncio.Queue()

    def begin(query: Query) -> None:
        begun.put_nowait((query, loop.create_task(_one(model, query, wanted))))

    def read() -> None:
        end = None
        with suppress(RuntimeError):  # the loop is closed: nobody wants the rest
            try:
                for query in queries:
                    places.acquire()
                    loop.call_soon_threadsafe(begin, query)
            except RequestError as error:
                end = error
            loop.call_soon_threadsafe(begun.put_nowait, end)

    # Not one of asyncio's threads: at Ctrl-C those would be waited for, and stdin with them.
    threading.Thread(target=read, daemon=True).start()
    while (one := await begun.get()) is not None:
        if isinstance(one, RequestError):
            raise one
        query, task = one
        outcome = await task
        if isinstance(outcome, RequestError):
            if wanted.strict:
                raise outcome
            print(f"t5serve: {outcome.message}", file=sys.stderr)
            reason = ERROR_RESPONSES[type(outcome)].code
            outcome = QueryResult(query.text, [original_candidate(query.text)], reason)
        tell(query, outcome)
        places.release()


async def _one(model: ServedModel, query: Query, wanted: Options) -> Outcome:
    """What became of a query; an error is returned, and says which query."""
    try:
        require_text(query.text)
        (result,) = await model.reformulator.reformulate([query.text], wanted)
    except ValueError as error:
        return InvalidRequest(f"query {query.id} {error}")
    except RequestError as error:
        return type(error)(f"query {query.id}: {error.message}")
    return result
