"""The command line: `t5gguf convert`, `fetch` and `inspect`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType

from t5engine.header import printable
from t5gguf.command_line import (
    FAILURE,
    Parser,
    add_completion,
    print_error,
    program_name,
    run_program,
)
from t5gguf.commands import convert, fetch, inspect
from t5gguf.errors import ConversionError, FetchError
from t5gguf.recipe import RecipeError

COMMANDS: dict[str, tuple[ModuleType, str]] = {
    "convert": (convert, "Convert a Hugging Face T5 checkpoint to a verified GGUF file"),
    "fetch": (fetch, "Fetch a T5 from the hub, verify it, pin it, and convert it to GGUF"),
    "inspect": (inspect, "Say what a GGUF file or a checkpoint is, and whether it will be taken"),
}


def main(arguments: Sequence[str] | None = None, command: str | None = None) -> int:
    """Runs a command and returns its exit status.

    A command that fails prints one line per fault and returns 1. A wrong command line ends the
    program with 2, one without a command shows the help.

    Args:
        arguments: the arguments; None: those of the command line.
        command: the command of a program that has no other.
    """
    return run_program(lambda: _run(arguments, command))


def _run(arguments: Sequence[str] | None, command: str | None) -> int:
    parser = _build_parser(program_name("t5gguf", arguments), command)
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help()
        return 0
    run: Callable[..., int] = options.run
    try:
        return run(options)
    except (ConversionError, FetchError, RecipeError, OSError, UnicodeDecodeError) as error:
        print_error("t5gguf", "\n".join(map(printable, str(error).splitlines())))
        return FAILURE


def _build_parser(program: str, command: str | None) -> Parser:
    if command is not None:
        module, summary = COMMANDS[command]
        parser = Parser(prog=program, description=f"{summary}.")
        module.add_arguments(parser)
        parser.set_defaults(run=module.run)
        return parser
    parser = Parser(prog=program, description="Convert T5 checkpoints to GGUF files for t5serve.")
    parser.set_defaults(run=None)
    add_completion(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        subparser = commands.add_parser(name, help=summary, description=f"{summary}.")
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
