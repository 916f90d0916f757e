"""The command line: `t5serve serve`, `reformulate`, `batch`, `models`, `lexicon`, `doctor`."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Collection, Sequence

from pydantic import ValidationError

from t5gguf.command_line import (
    FAILURE,
    USAGE,
    Parser,
    add_completion,
    print_error,
    program_name,
    run_program,
)
from t5serve.commands import doctor, lexicon, models, reformulate
from t5serve.commands.batch import command as batch
from t5serve.commands.settings_options import PREFIX, add_settings, read_options
from t5serve.commands.version import Version
from t5serve.environment import check_environment
from t5serve.errors import RequestError, StartupError, UsageError
from t5serve.http.server import serve
from t5serve.settings import Settings, describe_faults

PROGRAM = "t5serve"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    A command that fails writes one line to standard error and returns 1; a wrong command line
    returns 2. Without a command the help is shown.
    """
    return run_program(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = _build_parser(program_name(PROGRAM, arguments))
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        return _run(options)
    except UsageError as error:
        print_error(PROGRAM, f"{error} (see {parser.prog} {options.command} --help)")
        return USAGE
    except (StartupError, RequestError) as error:
        print_error(PROGRAM, str(error))
        return FAILURE


def _run(options: argparse.Namespace) -> int:
    if options.command == "models":
        return models.run(options)
    if options.command == "lexicon":
        return lexicon.run(options)
    settings = _read_settings(options)
    if options.command == "reformulate":
        return asyncio.run(reformulate.run(settings, options))
    if options.command == "batch":
        return batch.run(settings, options)
    if options.command == "doctor":
        return asyncio.run(doctor.run(settings, options))
    serve(settings)
    return 0


def _read_settings(options: argparse.Namespace) -> Settings:
    """Reads the settings; options of the command line override the environment.

    Raises:
        StartupError: a setting is invalid, or a variable is not a setting.
        UsageError: an option is invalid.
    """
    check_environment(os.environ, Settings.model_fields)
    overrides = read_options(options)
    chosen = {name: value for name, value in overrides.items() if name != "model"}
    try:
        if options.command != "serve" and (settings := Settings(**chosen)).models_file is not None:
            return settings  # there `--model` is a name of that file, which the command looks up
        return Settings(**overrides)
    except ValidationError as error:
        faults = {str(fault["loc"][0]) if fault["loc"] else "" for fault in error.errors()}
        text = describe_faults(error, lambda name: _name_setting(name, overrides))
    raise (UsageError if faults <= overrides.keys() else StartupError)(text)


def _name_setting(name: str, options: Collection[str]) -> str:
    """Returns the option or the variable of a setting."""
    is_option = any(name == option or name.startswith(f"{option}_") for option in options)
    return f"--{name.replace('_', '-')}" if is_option else f"{PREFIX}{name.upper()}"


def _build_parser(program: str) -> Parser:
    parser = Parser(
        prog=program,
        description="Serve T5 models as GGUF files, to reformulate search queries.",
        epilog=f"`{program} COMMAND --help` shows the options of a command.",
    )
    parser.add_argument(
        "--version", action=Version, help="print the versions of t5serve, llama.cpp and kernels"
    )
    add_completion(parser)
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    command = _add_command(commands, "serve", "Serve over HTTP")
    command.epilog = "Further settings are environment variables; docs/settings.md lists them."
    add_settings(command, ("host", "port", "model", "workers", "threads", "api_keys_file"))
    add_settings(command, ("log_level", "log_format"))
    command = _add_command(commands, "reformulate", "Reformulate queries in the terminal")
    add_settings(command, ("model", "workers", "threads"))
    reformulate.add_arguments(command)
    command = _add_command(commands, "batch", "Reformulate a file of queries of any size")
    add_settings(command, ("model", "workers", "threads"))
    batch.add_arguments(command)
    command = _add_command(commands, "models", "List the recipes and the model files that exist")
    models.add_arguments(command)
    command = _add_command(commands, "lexicon", "Make a lexicon of a collection's words")
    lexicon.add_arguments(command)
    command = _add_command(commands, "doctor", "Check machine, build and model; advise changes")
    add_settings(command, ("model", "workers", "threads"))
    doctor.add_arguments(command)
    return parser


def _add_command(commands: argparse._SubParsersAction[Parser], name: str, summary: str) -> Parser:
    return commands.add_parser(name, help=summary, description=f"{summary}.")
