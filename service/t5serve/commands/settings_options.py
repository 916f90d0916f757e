"""Options of commands that set a setting: their help is the setting's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from t5serve.settings import Settings

PREFIX = "T5SERVE_"


def add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Adds an option per setting. Values stay text: the settings check them."""
    types = get_type_hints(Settings)
    for name in names:
        field = Settings.model_fields[name]
        kinds = get_args(types[name]) or (types[name],)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=Path if Path in kinds else str,
            metavar=_metavar(kinds),
            help=_help(name, field.description or "", field.default),
        )


def read_options(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings that the command line sets."""
    values = {name: getattr(options, name, None) for name in Settings.model_fields}
    return {name: value for name, value in values.items() if value is not None}


def _metavar(kinds: Sequence[Any]) -> str:
    if all(isinstance(kind, str) for kind in kinds):
        return "|".join(kinds)
    if Path in kinds:
        return "FILE"
    return "N" if int in kinds else "TEXT"


def _help(name: str, description: str, default: object) -> str:
    shown = "" if default is None else f"; default: {default}"
    return f"{help_text(description)} ({PREFIX}{name.upper()}{shown})"


def help_text(description: str) -> str:
    """Returns a description of the API or of a setting in the form of an option's help."""
    text = " ".join(description.split()).rstrip(".").replace("`", "").replace("%", "%%")
    return text[:1].lower() + text[1:]
