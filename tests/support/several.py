"""Several small models, and files that declare them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support import tiny
from support.conversions import convert_lists, write_unverified
from support.rewriting import rewrite
from t5gguf import recipe

Table = Mapping[str, Any]


def build_models(directory: Path) -> dict[str, Path]:
    """Writes four models with different weights, and returns their files by name."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {"included": recipe.load("tiny-t5").model_path()}
    files["lists"] = convert_lists(directory / "lists")
    for name, flavour in (("tied", "tied_relu"), ("gated", "gated_untied")):
        files[name] = directory / f"{name}.gguf"
        write_unverified(files[name], tiny.build(flavour, directory / flavour, seed=7), "F32")
    return files


def write_models_file(path: Path, *tables: Table) -> Path:
    """Writes a file of models; a table in a table is an inline table."""
    text = "\n".join(
        "[[models]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())
        for table in tables
    )
    path.write_text(text, encoding="utf-8")
    return path


def rename(file: Path, out: Path, name: str) -> Path:
    """Copies a model's file with another name in it, beside `out`, and moves it there at once."""
    beside = out.with_suffix(".new")
    rewrite(file, beside, {"general.name": name})
    return beside.replace(out)


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Path):
        return json.dumps(str(value))
    return json.dumps(value)  # strings, numbers and lists are the same in TOML
