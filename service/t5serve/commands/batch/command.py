"""The command line of `t5serve batch`."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

from t5serve.api import EmbeddedModel
from t5serve.commands.batch.answers import Asker, Reformulate
from t5serve.commands.batch.expansion import (
    MAX_SAMPLES,
    join_requests,
    split_samples,
    vary_requests,
)
from t5serve.commands.batch.formats import (
    FileFormat,
    RowFormat,
    RowShape,
    output_format_of,
)
from t5serve.commands.batch.identity import identify
from t5serve.commands.batch.job import BatchJob
from t5serve.commands.batch.journal import Journal, Paths
from t5serve.commands.batch.lifecycle import open_source, prepare, publish
from t5serve.commands.batch.parquet import require_pyarrow
from t5serve.commands.batch.progress import Progress
from t5serve.commands.batch.ray_job import run_on_ray
from t5serve.commands.batch.rows import Shard, Source
from t5serve.commands.request_options import add_request_options, parse_request, request_values
from t5serve.errors import StartupError, UsageError
from t5serve.http.schemas.body import MAX_N
from t5serve.results import Result
from t5serve.settings import Settings

PROBE = "how do i learn python"  # shows whether a service takes the key and the options
SERVICE_QUERIES = 32  # of a request: the default of T5SERVE_MAX_QUERIES
SERVICE_REQUESTS = 2  # at a time; together they fill the default of T5SERVE_MAX_QUEUE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("input", type=Path, help="a file of queries: .jsonl, .tsv, .txt, .parquet")
    parser.add_argument(
        "--output", "-o", type=Path, required=True, help="the file to write: .jsonl, .tsv, .parquet"
    )
    parser.add_argument(
        "--from", dest="source", choices=get_args(FileFormat), help="format of the input"
    )
    parser.add_argument(
        "--format",
        dest="shape",
        choices=get_args(RowShape),
        default="results",
        help="what a row has: all results, or the queries of documents for an index; with more than"
        f" results, -n goes up to {MAX_SAMPLES} samples",
    )
    parser.add_argument("--column", help="Parquet's column of queries; by default text or query")
    parser.add_argument("--id-column", help="Parquet's column of ids; by default id, if it exists")
    parser.add_argument("--resume", action="store_true", help="continue a job that was stopped")
    parser.add_argument("--force", action="store_true", help="begin anew and replace the output")
    parser.add_argument(
        "--shard",
        type=Shard.parse,
        default=Shard(),
        metavar="I/N",
        help="the I-th of N parts of the input; the outputs, one after another, are the whole",
    )
    parser.add_argument("--url", help="use this service instead of loading a model")
    parser.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="spread the work over a Ray cluster, such as HOST:6379; without an address over"
        " RAY_ADDRESS, or all cores of this machine. --workers are the most actors (by default as"
        " many as fit), --threads those of each (by default 1). Duplicates are computed once per"
        " actor as far as its cache goes. Needs the extra ray",
    )
    add_request_options(parser, strict_help="treat queries without usable text as bad rows")


class _Answerers(NamedTuple):
    """Who answers, and how many queries at a time.

    Attributes:
        model: tells the model from another one.
        chunk: the queries of a request.
        concurrency: the most requests at a time.
    """

    reformulate: Reformulate
    model: str
    chunk: int
    concurrency: int


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Writes a row for each good row of the input, and each bad row to a file beside.

    Returns:
        The exit status: 0, also if there were bad rows.

    Raises:
        RequestError: an option is invalid, or the service refuses or does not answer any more.
        StartupError: a file can't be read or written, or the model can't be served.
        UsageError: options exclude each other.
    """
    output_format = output_format_of(options.output)
    if output_format == "parquet":
        require_pyarrow()
    row_format = RowFormat(output_format, options.shape)
    counts = split_samples(options)
    parse_request(options)
    if options.ray is not None:
        if options.url is not None:
            raise UsageError("--ray and --url exclude each other")
        if len(counts) > 1:
            raise UsageError(f"--ray takes -n up to {MAX_N}")
        options.input = options.input.absolute()  # Ray's processes run in another folder
    source = open_source(options)
    paths = Paths(options.output)
    try:
        if not prepare(paths, options):
            print(f"t5serve: {paths.out} is complete", file=sys.stderr)
            return 0
        if options.ray is None:
            journal = asyncio.run(_run(settings, options, source, paths, row_format, counts))
            bad = journal.bad
            publish(paths, bad, output_format)
            journal.close()
            paths.remove_unfinished()
        else:  # not in an event loop, which would keep Ctrl-C from Ray
            bad = run_on_ray(settings, options, source, paths, output_format)
    except OSError as error:
        where = error.filename or options.output
        raise StartupError(f"{where}: {error.strerror or error}; --resume continues") from error
    except sqlite3.Error as error:
        raise StartupError(f"{paths.journal}: {error}; --resume continues") from error
    message = f"t5serve: {source.total - bad:,} rows in {paths.out}"
    if bad:
        message += f"; {bad:,} bad rows in {paths.errors}"
    print(message, file=sys.stderr)
    return 0


async def _run(
    settings: Settings,
    options: argparse.Namespace,
    source: Source,
    paths: Paths,
    row_format: RowFormat,
    counts: list[int],
) -> Journal:
    """Does the job with a model of this process or a service; returns the complete journal."""
    values = request_values(options)
    is_strict = values.pop("strict", False)
    async with _open_answerers(settings, options, vary_requests(values, counts)) as answerers:
        identity = identify(options, values | {"n": sum(counts)}, answerers.model)
        journal = Journal(paths, identity, source.start)
        if not journal.is_complete:
            asker = Asker(answerers.reformulate, is_strict=is_strict)
            await _run_job(source, journal, row_format, asker, answerers)
    return journal


async def _run_job(
    source: Source,
    journal: Journal,
    row_format: RowFormat,
    asker: Asker,
    answerers: _Answerers,
) -> None:
    try:
        with Progress(source.total, journal.position.number - source.start.number) as progress:
            job = BatchJob(
                source.read(journal.position),
                journal,
                row_format,
                asker,
                chunk=answerers.chunk,
                concurrency=answerers.concurrency,
                on_written=progress.add,
            )
            await job.run()
    except BaseException:
        journal.close()
        raise


@asynccontextmanager
async def _open_answerers(
    settings: Settings, options: argparse.Namespace, variants: list[dict[str, Any]]
) -> AsyncIterator[_Answerers]:
    """Loads the model, or connects with a service."""
    if options.url is None:
        async with EmbeddedModel.load(settings, options.model) as embedded:
            if len(variants) > 1 and not embedded.does_sample(variants[0]):  # type: ignore[arg-type]
                raise UsageError(f"-n over {MAX_N} needs --strategy sample")
            requests = [_ask_embedded(embedded, values) for values in variants]
            fingerprint = await embedded.model.fingerprint.text()
            yield _Answerers(join_requests(requests), fingerprint, 1, embedded.concurrency)
        return
    try:
        from t5serve.client.client import AsyncClient  # noqa: PLC0415 - httpx is an extra
    except ImportError:
        raise StartupError("--url needs httpx; install t5serve with the extra `client`") from None
    async with AsyncClient(options.url, max_queries=SERVICE_QUERIES) as client:
        await client.reformulate(PROBE, **variants[0])
        requests = [partial(client.reformulate, **values) for values in variants]
        yield _Answerers(join_requests(requests), "", SERVICE_QUERIES, SERVICE_REQUESTS)


def _ask_embedded(embedded: EmbeddedModel, values: dict[str, Any]) -> Reformulate:
    """Returns what asks a loaded model with these options.

    Raises:
        InvalidRequest: an option is invalid.
    """
    checked = embedded.read_options(values)  # type: ignore[arg-type]

    async def reformulate(queries: list[str]) -> list[Result]:
        return await embedded.reformulate(queries, checked)

    return reformulate
