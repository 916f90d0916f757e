"""What the commands `t5gguf` and `t5serve` share: parser, errors, completion, standard streams."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from t5gguf.suggestion import suggest

FAILURE, USAGE, INTERRUPTED = 1, 2, 130  # exit statuses; 128 + SIGINT
SHELLS = ("bash", "zsh", "fish", "tcsh")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and suggest the nearest name."""

    def parse_known_args(  # type: ignore[override] # typeshed has overloads for the namespace
        self,
        args: Sequence[str] | None = None,
        namespace: Any = None,  # noqa: ANN401 - argparse takes any object
    ) -> tuple[Any, list[str]]:
        """Refuses unknown arguments in the parser of the command that got them."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:  # else argparse would pass them on to the program's parser
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        self.exit(USAGE, f"{self.prog.split()[0]}: {message} (see {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # noqa: ANN401
        if action.choices is not None and value not in action.choices:
            advice = suggest(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f"{value!r} is unknown; {advice}")


def run_program(run: Callable[[], int]) -> int:
    """Runs a program and returns its exit status.

    Ctrl-C ends it without a traceback, and so does a reader of standard output that leaves, such as
    `head`. Standard streams that are closed are opened to /dev/null.
    """
    _open_standard_streams()
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one has nothing left to end
        return INTERRUPTED


def program_name(package: str, arguments: Sequence[str] | None) -> str:
    """Returns the name by which a program was started; the package's for `python -m`.

    Args:
        package: the package that the program belongs to.
        arguments: the arguments of a caller in Python; None: those of the command line.
    """
    name = Path(sys.argv[0]).name
    return package if arguments is not None or name in ("", "-c", "__main__.py") else name


def _open_standard_streams() -> None:
    # A file that is opened later would get a closed stream's number, and what is printed.
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def print_error(program: str, message: str) -> None:
    """Prints an error on standard error; a message of several lines begins with their summary."""
    print(f"{program}: {message}", file=sys.stderr)


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Adds the option that prints a completion script for a shell."""
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=SHELLS,
        help="print a completion script for a shell, and exit",
    )


class _PrintCompletion(argparse.Action):
    """Prints the script that shtab makes of the parser."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        _option_string: str | None = None,
    ) -> None:
        import shtab  # noqa: PLC0415 - only this option needs it

        for action in _find_actions(parser):
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, str(values)))
        parser.exit()


def _find_actions(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - likewise
            for command in action.choices.values():
                yield from _find_actions(command)
