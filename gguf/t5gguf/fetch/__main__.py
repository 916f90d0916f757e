"""Command line: `t5gguf fetch NAME --convert Q8_0,Q4_0`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants

from t5gguf import recipe as recipes
from t5gguf.errors import ConversionError, FetchError
from t5gguf.fetch.conversion import convert, file_types, out_path
from t5gguf.fetch.fetcher import Fetcher, Wanted
from t5gguf.fetch.files import local_name
from t5gguf.fetch.hub import Hub
from t5gguf.fetch.lock import Lock
from t5gguf.recipe import Recipe, RecipeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetches and converts; one line on standard error and status 1 when that fails."""
    options = _parser().parse_args(arguments)
    try:
        _list(options) if options.list else _run(options)
    except (FetchError, ConversionError, RecipeError, OSError) as error:
        print(f"t5gguf fetch: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("t5gguf fetch: stopped; what came is kept for the next time", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    wanted = _wanted(options.name, options.file)
    if wanted.recipe and wanted.recipe.source.included:
        print(f"{wanted.name} is included; serve it with: {_serve(wanted.name)}")
        return
    types = [] if options.convert is None else file_types(options.convert, wanted)
    models = recipes.models()
    offline = options.offline or constants.HF_HUB_OFFLINE
    hub = None if offline else Hub(os.environ.get("HF_ENDPOINT"), progress=not options.quiet)
    fetcher = Fetcher(hub, _lock(options), models)
    pin = fetcher.fetch(wanted, update=options.update)
    print(f"{fetcher.directory(wanted)}: {pin.repo} at {pin.revision}, {len(pin.sha256)} file(s)")
    for written in convert(
        models, wanted, pin, types, force=options.force, progress=not options.quiet
    ):
        print(
            f"{written.path}: {written.size / 1e6:.1f} MB, verified; logits off by "
            f"{written.figures.rms:.2g} of their deviation, "
            f"same best token at {written.figures.agreement:.1%} of positions"
        )
    print(_next(wanted, types, models))


def _next(wanted: Wanted, types: Sequence[str], models: Path) -> str:
    """What to type now."""
    recipe = wanted.recipe
    if recipe and recipe.model_path().is_file():
        return f"serve it with: {_serve(wanted.name)}"
    if types:
        return f"serve it with: {_serve(str(out_path(models, wanted, types[0])))}"
    if wanted.files:
        return (
            f"serve it with: {_serve(str(models / wanted.directory / local_name(wanted.files[0])))}"
        )
    return "convert it with: the same command and --convert Q8_0"


def _serve(model: str) -> str:
    program = "t5serve serve" if recipes.BUNDLED.is_dir() else "./scripts/serve"
    return f"{program} --model {model}"


def _list(options: argparse.Namespace) -> None:
    fetcher = Fetcher(None, _lock(options), recipes.models())
    loaded = [recipes.load(name) for name in recipes.names()]
    width = max(len(recipe.name) for recipe in loaded)
    licence = max(len(recipe.license) for recipe in loaded)
    for recipe in loaded:
        state = "fetched" if fetcher.is_there(_of_recipe(recipe)) else "-"
        if recipe.model_path().is_file():
            state = "ready"
        described = f"{recipe.license:{licence}}  {recipe.description}"
        print(f"{recipe.name:{width}}  {state:7}  {described}")


def _lock(options: argparse.Namespace) -> Lock:
    if options.lock:
        return Lock(options.lock)
    return Lock(recipes.lock_path(), recipes.shipped_lock_path())


def _wanted(name: str, files: Sequence[str]) -> Wanted:
    """A recipe by its name or its repository's, else a repository.

    Raises:
        FetchError: GGUF files are named of what has a recipe, or not plainly.
        RecipeError: no such recipe.
    """
    repo, at, revision = name.partition("@")
    if at and not revision:
        raise FetchError(f"{name!r} ends in @: expected owner/name@revision")
    for file in files:
        if not local_name(file).endswith(".gguf") or ".." in Path(file).parts:
            raise FetchError(f"--file {file!r} is not the path of a GGUF file in a repository")
    if "/" not in repo:
        wanted = _of_recipe(recipes.load(repo), revision)
    else:
        loaded = [recipes.load(one) for one in recipes.names()]
        known = [recipe for recipe in loaded if recipe.source.repo == repo]
        if not known or files:
            return Wanted(repo, revision, tuple(files))
        wanted = _of_recipe(known[0], revision)
    if files:
        raise FetchError(f"{repo} is a recipe, which says itself what files there are")
    return wanted


def _of_recipe(recipe: Recipe, revision: str = "") -> Wanted:
    source = recipe.source
    return Wanted(
        source.repo, revision or source.revision, tuple(source.files), source.sha256, recipe
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="t5gguf fetch",
        description="Fetch a T5 from the hub, verify it, pin it, and convert it to GGUF.",
        epilog="HF_TOKEN, HF_ENDPOINT (a mirror) and HF_HUB_OFFLINE count, as everywhere.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("name", nargs="?", help="a recipe, or owner/name[@revision]")
    what.add_argument("--list", action="store_true", help="the recipes, and which are there")
    parser.add_argument(
        "--convert",
        nargs="?",
        const="",
        metavar="TYPES",
        help="then convert to these types, between commas, and verify; by default the recipe's",
    )
    parser.add_argument(
        "--file", action="append", default=[], metavar="NAME", help="a GGUF file of the repository"
    )
    parser.add_argument("--update", action="store_true", help="pin what the hub has now")
    parser.add_argument("--offline", action="store_true", help="take only what is here already")
    parser.add_argument("--lock", type=Path, help="another lock file")
    parser.add_argument("--force", action="store_true", help="convert anew, over what is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


if __name__ == "__main__":
    sys.exit(main())
