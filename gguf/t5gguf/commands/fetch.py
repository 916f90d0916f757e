"""`t5gguf fetch NAME --convert Q8_0,Q4_0`: downloads, verifies, pins and converts a model."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants

from t5gguf import recipe as recipes
from t5gguf.command_line import INTERRUPTED
from t5gguf.errors import FetchError
from t5gguf.fetch.conversion import convert, gguf_path, parse_file_types
from t5gguf.fetch.fetcher import Fetcher, FetchRequest
from t5gguf.fetch.files import local_name
from t5gguf.fetch.hub import Hub
from t5gguf.fetch.lock import Lock
from t5gguf.generation_config import read_defaults
from t5gguf.recipe import Recipe
from t5gguf.report import describe_defaults, describe_narrow_rows


def run(options: argparse.Namespace) -> int:
    """Fetches and converts, or lists the recipes.

    Raises:
        FetchError: the model can't be fetched.
        ConversionError: the checkpoint can't be converted.
        RecipeError: there is no such recipe.
    """
    try:
        _list_recipes(options) if options.list else _fetch(options)
    except KeyboardInterrupt:
        print("t5gguf: stopped; run this again to resume the download", file=sys.stderr)
        return INTERRUPTED
    return 0


def _fetch(options: argparse.Namespace) -> None:
    request = _build_request(options.name, options.file)
    if request.recipe and request.recipe.source.included:
        print(f"{request.name} is included; serve it with: {_serve_command(request.name)}")
        return
    file_types = [] if options.convert is None else parse_file_types(options.convert, request)
    models = recipes.models()
    offline = options.offline or constants.HF_HUB_OFFLINE
    hub = None if offline else Hub(os.environ.get("HF_ENDPOINT"), progress=not options.quiet)
    fetcher = Fetcher(hub, _open_lock(options), models)
    pin = fetcher.fetch(request, update=options.update)
    directory = fetcher.model_directory(request)
    print(f"{directory}: {pin.repo} at {pin.revision}, {len(pin.sha256)} file(s)")
    if file_types and not request.recipe:
        for line in describe_defaults(read_defaults(directory)):
            print(line)
    for converted in convert(
        models, request, pin, file_types, force=options.force, progress=not options.quiet
    ):
        for line in describe_narrow_rows(converted):
            print(line)
        print(
            f"{converted.path}: {converted.size / 1e6:.1f} MB, verified; logit error "
            f"{converted.comparison.rms:.2g} of the standard deviation, "
            f"same best token at {converted.comparison.agreement:.1%} of positions"
        )
    print(_suggest_command(request, file_types, models))


def _suggest_command(request: FetchRequest, file_types: Sequence[str], models: Path) -> str:
    """Returns the next command for the user to type."""
    recipe = request.recipe
    if recipe and recipe.model_path().is_file():
        return f"serve it with: {_serve_command(request.name)}"
    if file_types:
        return f"serve it with: {_serve_command(str(gguf_path(models, request, file_types[0])))}"
    if request.files:
        path = models / request.directory_name / local_name(request.files[0])
        return f"serve it with: {_serve_command(str(path))}"
    return "convert it with: the same command and --convert Q8_0"


def _serve_command(model: str) -> str:
    program = "t5serve serve" if recipes.BUNDLED.is_dir() else "./scripts/serve"
    return f"{program} --model {model}"


def _list_recipes(options: argparse.Namespace) -> None:
    fetcher = Fetcher(None, _open_lock(options), recipes.models())
    loaded = [recipes.load(name) for name in recipes.names()]
    rows = [_describe_recipe(recipe, fetcher) for recipe in loaded]
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    name_width = max(len(row["name"]) for row in rows)
    license_width = max(len(row["license"]) for row in rows)
    for row in rows:
        columns = f"{row['name']:{name_width}}  {row['state']:7}  {row['license']:{license_width}}"
        print(f"{columns}  {row['description']}")


def _describe_recipe(recipe: Recipe, fetcher: Fetcher) -> dict[str, str]:
    state = "fetched" if fetcher.is_fetched(_request_recipe(recipe)) else "-"
    if recipe.model_path().is_file():
        state = "ready"
    return {
        "name": recipe.name,
        "state": state,
        "license": recipe.license,
        "description": recipe.description,
    }


def _open_lock(options: argparse.Namespace) -> Lock:
    if options.lock:
        return Lock(options.lock)
    return Lock(recipes.lock_path(), recipes.shipped_lock_path())


def _build_request(name: str, files: Sequence[str]) -> FetchRequest:
    """Builds the request for a recipe, by its name or its repository, or for another repository.

    Raises:
        FetchError: the name or a file is malformed, or `files` are named for a recipe.
        RecipeError: there is no such recipe.
    """
    repo, at, revision = name.partition("@")
    if at and not revision:
        raise FetchError(f"{name!r} ends in @: expected owner/name@revision")
    for file in files:
        if not local_name(file).endswith(".gguf") or ".." in Path(file).parts:
            raise FetchError(f"--file {file!r} is not the path of a GGUF file in a repository")
    if "/" not in repo:
        request = _request_recipe(recipes.load(repo), revision)
    else:
        loaded = [recipes.load(recipe_name) for recipe_name in recipes.names()]
        matches = [recipe for recipe in loaded if recipe.source.repo == repo]
        if not matches or files:
            return FetchRequest(repo, revision, tuple(files))
        request = _request_recipe(matches[0], revision)
    if files:
        raise FetchError(f"{repo} is a recipe, which names its own files: leave out --file")
    return request


def _request_recipe(recipe: Recipe, revision: str = "") -> FetchRequest:
    source = recipe.source
    return FetchRequest(
        source.repo, revision or source.revision, tuple(source.files), source.sha256, recipe
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = "Environment: HF_TOKEN, HF_ENDPOINT (a mirror), HF_HUB_OFFLINE."
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("name", nargs="?", help="a recipe, or owner/name[@revision]")
    target.add_argument(
        "--list", action="store_true", help="list the recipes, and which are on disk"
    )
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.add_argument(
        "--convert",
        nargs="?",
        const="",
        metavar="TYPES",
        help="convert to these types (with commas between) and verify; default: the recipe's types",
    )
    parser.add_argument(
        "--file", action="append", default=[], metavar="NAME", help="a GGUF file of the repository"
    )
    parser.add_argument(
        "--update", action="store_true", help="pin the revision that the hub has now"
    )
    parser.add_argument("--offline", action="store_true", help="use only files that are on disk")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="use another lock file")
    parser.add_argument("--force", action="store_true", help="convert again, and overwrite files")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
