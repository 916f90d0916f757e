"""Command line: `t5serve serve` and `t5serve reformulate "a query"`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from t5serve import __version__
from t5serve.engine.config import MAX_TOKENS
from t5serve.errors import RequestError, StartupError
from t5serve.reformulation.options import Options
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.schemas.reformulate import require_text
from t5serve.server import build_engine, serve
from t5serve.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; one line on standard error and status 1 when it fails."""
    options = _parser().parse_args(arguments)
    try:
        settings = _settings(options)
        if options.command == "serve":
            serve(settings)
        else:
            asyncio.run(_reformulate(settings, options))
    except (StartupError, RequestError) as error:
        print(f"t5serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _reformulate(settings: Settings, options: argparse.Namespace) -> None:
    engine = build_engine(settings)
    _, recipe = settings.find_model()
    engine.start()
    try:
        profile = Profile.of(await engine.ready(), recipe)
        wanted = Options(
            task=options.task,
            max_tokens=options.max_tokens,
            strict=True,
            timeout_ms=settings.timeout_ms,
        )
        reformulator = Reformulator(engine, profile)
        for first in range(0, len(options.query), settings.max_queries):
            queries = options.query[first : first + settings.max_queries]
            for result in await reformulator.reformulate(queries, wanted):
                print(*(one.text for one in result.reformulations), sep="\n")
    finally:
        await engine.close()


def _settings(options: argparse.Namespace) -> Settings:
    given = {name: getattr(options, name, None) for name in ("host", "port", "model")}
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        faults = "; ".join(
            f"{_variable(fault['loc'])}{fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise StartupError(faults) from None


def _variable(location: tuple[int | str, ...]) -> str:
    """The variable at fault; nothing where several are."""
    return f"T5SERVE_{'_'.join(map(str, location)).upper()}: " if location else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="t5serve", description="Serve T5 models as GGUF.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("serve", help="serve over HTTP")
    command.add_argument("--host", help="address to listen at (T5SERVE_HOST)")
    command.add_argument("--port", type=int, help="port to listen at (T5SERVE_PORT)")
    _add_model(command)
    command = commands.add_parser("reformulate", help="reformulate queries in the terminal")
    command.add_argument("query", nargs="+", type=_query, help="a query; quote it")
    command.add_argument("--task", help="one of the model's tasks")
    command.add_argument(
        "--max-tokens", type=int, choices=range(1, MAX_TOKENS + 1), metavar="N", help="at most"
    )
    _add_model(command)
    return parser


def _query(text: str) -> str:
    try:
        return require_text(text.encode().decode())
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("a query must be UTF-8") from None
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"a query {error}") from None


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", help="a GGUF file or a recipe's name (T5SERVE_MODEL)")


if __name__ == "__main__":
    sys.exit(main())
