"""`t5serve models`: lists the recipes."""

from __future__ import annotations

import argparse
import json
from typing import Any

import msgspec

from t5gguf import recipe as recipes
from t5gguf.recipe import Recipe, RecipeError
from t5serve.errors import StartupError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("--json", action="store_true", help="print JSON with all facts")


def run(options: argparse.Namespace) -> int:
    """Prints name, file size, licence, tasks and description of each recipe.

    Raises:
        StartupError: a recipe is invalid.
    """
    try:
        all_recipes = [recipes.load(name) for name in recipes.names()]
    except RecipeError as error:
        raise StartupError(str(error)) from error
    if options.json:
        print(
            json.dumps([_describe(recipe) for recipe in all_recipes], indent=2, ensure_ascii=False)
        )
        return 0
    width = max(len(recipe.name) for recipe in all_recipes)
    for recipe in all_recipes:
        path = recipe.model_path()
        size = f"{path.stat().st_size / 1e6:.0f} MB" if path.is_file() else "no file"
        tasks = ", ".join([*recipe.tasks, *recipe.aliases])
        print(f"{recipe.name:{width}}  {size:>8}  {recipe.license:12} {tasks}")
        print(f"{'':{width}}  {recipe.description}")
    if not all(recipe.model_path().is_file() for recipe in all_recipes):
        print("\nTo download and convert a model without a file: t5gguf fetch NAME")
    return 0


def _describe(recipe: Recipe) -> dict[str, Any]:
    path = recipe.model_path()
    return {
        "name": recipe.name,
        "description": recipe.description,
        "license": recipe.license,
        "tasks": recipe.prefixes,
        "aliases": msgspec.to_builtins(recipe.aliases),
        "n": {name: task.n for name, task in recipe.tasks.items()},
        "templates": {name: task.template for name, task in recipe.tasks.items()},
        "separators": recipe.separators,
        "generation": recipe.generation.given(),
        "source": recipe.source.repo,
        "file": str(path),
        "bytes": path.stat().st_size if path.is_file() else None,
    }
