"""`t5serve models`: the recipes there are."""

from __future__ import annotations

import argparse
import json
from typing import Any

from t5gguf import recipe as recipes
from t5gguf.recipe import Recipe, RecipeError
from t5serve.errors import StartupError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Few."""
    parser.add_argument("--json", action="store_true", help="all that a recipe says")


def run(options: argparse.Namespace) -> int:
    """Prints one line a recipe: name, what is here of it, tasks, licence, description.

    Raises:
        StartupError: a recipe that does not read as one.
    """
    try:
        found = [recipes.load(name) for name in recipes.names()]
    except RecipeError as error:
        raise StartupError(str(error)) from error
    if options.json:
        print(json.dumps([_facts(recipe) for recipe in found], indent=2, ensure_ascii=False))
        return 0
    width = max(len(recipe.name) for recipe in found)
    for recipe in found:
        path = recipe.model_path()
        here = f"{path.stat().st_size / 1e6:.0f} MB" if path.is_file() else "not here"
        tasks = ", ".join(recipe.tasks)
        print(f"{recipe.name:{width}}  {here:>8}  {recipe.license:12} {tasks}")
        print(f"{'':{width}}  {recipe.description}")
    return 0


def _facts(recipe: Recipe) -> dict[str, Any]:
    path = recipe.model_path()
    return {
        "name": recipe.name,
        "description": recipe.description,
        "license": recipe.license,
        "tasks": recipe.prefixes,
        "generation": recipe.generation.given(),
        "source": recipe.source.repo,
        "file": str(path),
        "bytes": path.stat().st_size if path.is_file() else None,
    }
