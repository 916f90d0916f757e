"""The command line: `t5serve serve`, `reformulate`, `batch`, `models`, `lexicon`, `doctor`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from t5serve import __version__
from t5serve.commands import doctor, lexicon, models, reformulate
from t5serve.commands.batch import command as batch
from t5serve.environment import check_environment
from t5serve.errors import RequestError, StartupError
from t5serve.http.server import serve
from t5serve.settings import Settings, read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    A command that fails writes one line to standard error and returns 1.
    """
    options = _build_parser().parse_args(arguments)
    try:
        return _run(options)
    except (StartupError, RequestError) as error:
        print(f"t5serve: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of standard output left, like `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    if options.command == "models":
        return models.run(options)
    if options.command == "lexicon":
        return lexicon.run(options)
    settings = _read_settings(options)
    if options.command == "reformulate":
        return asyncio.run(reformulate.run(settings, options))
    if options.command == "batch":
        return asyncio.run(batch.run(settings, options))
    if options.command == "doctor":
        return asyncio.run(doctor.run(settings, options))
    serve(settings)
    return 0


def _read_settings(options: argparse.Namespace) -> Settings:
    """Reads the settings; options of the command line override the environment.

    Raises:
        StartupError: a setting is invalid, or a variable is not a setting.
    """
    check_environment(os.environ, Settings.model_fields)
    overrides = {name: getattr(options, name, None) for name in ("host", "port", "model")}
    return read_settings({name: value for name, value in overrides.items() if value is not None})


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="t5serve", description="Serve T5 models as GGUF.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("serve", help="serve over HTTP")
    command.add_argument("--host", help="address to listen on (T5SERVE_HOST)")
    command.add_argument("--port", type=int, help="port to listen on (T5SERVE_PORT)")
    _add_model(command)
    command = commands.add_parser("reformulate", help="reformulate queries in the terminal")
    _add_model(command)
    reformulate.add_arguments(command)
    command = commands.add_parser("batch", help="reformulate a file of queries of any size")
    _add_model(command)
    batch.add_arguments(command)
    command = commands.add_parser("models", help="list the recipes and the model files that exist")
    models.add_arguments(command)
    command = commands.add_parser("lexicon", help="make a lexicon of a collection's words")
    lexicon.add_arguments(command)
    command = commands.add_parser("doctor", help="check machine, build and model; advise changes")
    _add_model(command)
    doctor.add_arguments(command)
    return parser


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", help="a GGUF file or a recipe's name (T5SERVE_MODEL)")


if __name__ == "__main__":
    sys.exit(main())
