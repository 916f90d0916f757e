"""`t5gguf convert DIR --out FILE.gguf`: converts a checkpoint and verifies the file."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from gguf import GGMLQuantizationType as Type

from t5engine.decoding.parameters import MAX_TOKENS
from t5gguf import recipe as recipes
from t5gguf.config import Config
from t5gguf.convert import Converter
from t5gguf.errors import ConversionError
from t5gguf.generation_config import GenerationDefaults, read_defaults
from t5gguf.quantize import GROUPS, POLICIES, expand_group_type
from t5gguf.recipe import Recipe, TensorType
from t5gguf.report import describe_defaults, describe_file, describe_source
from t5gguf.stray_files import check_directory
from t5gguf.tasks import Task
from t5gguf.tensor_map import Role
from t5gguf.writer import Provenance


def run(options: argparse.Namespace) -> int:
    """Converts a checkpoint, verifies the file, and prints what it is.

    Raises:
        ConversionError: the checkpoint can't be converted.
        RecipeError: there is no such recipe.
    """
    recipe = recipes.load(options.recipe) if options.recipe else None
    queries = options.queries.read_text(encoding="utf-8").splitlines() if options.queries else []
    check_directory(options.source)
    defaults = read_defaults(options.source)
    if recipe is None:  # a recipe says how its model generates
        _print(describe_defaults(defaults))
    provenance = _build_provenance(options, recipe, defaults)
    converter = Converter(
        options.source,
        provenance,
        queries,
        _select_calibration(options, recipe),
        options.trim_vocabulary,
    )
    _print(describe_source(converter))
    if options.imatrix_out:
        converter.write_imatrix(
            options.imatrix_out, force=options.force, progress=not options.quiet
        )
    converted = converter.convert(
        options.out,
        options.type,
        force=options.force,
        types=_select_role_types(options, recipe),
        progress=not options.quiet,
    )
    _print(describe_file(converter, converted))
    _print([f"its name in requests is {provenance.name!r}; --name sets another"])
    if recipe is None:
        _print(["the file has no guards: requests ask for them with `preserve`, or a recipe does"])
    return 0


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _select_calibration(options: argparse.Namespace, recipe: Recipe | None) -> list[str] | None:
    """Returns the calibration queries; None for the included ones, none for plain rounding."""
    if options.calibrate:
        return _read_queries(options.calibrate)
    if options.no_calibration or (recipe and not recipe.quantisation.calibration):
        return []
    return None


def _read_queries(path: Path) -> list[str]:
    """Reads the queries of a file, one per line.

    Raises:
        ConversionError: the file has no query.
    """
    queries = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not queries:
        raise ConversionError(f"{path} has no query: expected one per line")
    return queries


def _select_role_types(options: argparse.Namespace, recipe: Recipe | None) -> dict[Role, Type]:
    """Returns the types that replace the policy's; the command line wins over the recipe."""
    embedding = options.token_embedding_type or (
        recipe.quantisation.token_embedding_type if recipe else None
    )
    role_types = expand_group_type("embedding", embedding) if embedding else {}
    for group_types in options.tensor_type or []:
        role_types |= group_types
    return role_types


def _build_provenance(
    options: argparse.Namespace, recipe: Recipe | None, defaults: GenerationDefaults
) -> Provenance:
    """Builds the provenance from the command line, else the recipe, else the checkpoint."""
    tasks = {name: Task.of_prefix(prefix) for name, prefix in options.prefix or []}
    limit = {"max_tokens": options.max_tokens} if options.max_tokens else {}
    if recipe is None:
        return Provenance(
            name=options.name or options.source.resolve().name,
            repo=options.repo or "",
            revision=options.revision or "",
            license=options.license or "",
            tasks=tasks or _read_tasks(options.source),
            generation={**defaults.values, **limit},
        )
    return Provenance(
        name=options.name or recipe.name,
        repo=options.repo or recipe.source.repo,
        revision=options.revision or recipe.source.revision,
        license=options.license or recipe.license,
        tasks=tasks or recipe.tasks,
        rerank=recipe.rerank,
        generation={**recipe.generation.given(), **limit},
    )


def _read_tasks(directory: Path) -> dict[str, Task]:
    """Returns the tasks that a checkpoint names."""
    prefixes = Config.load(directory).prefixes
    return {name: Task.of_prefix(prefix) for name, prefix in prefixes.items()}


def _parse_max_tokens(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_TOKENS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MAX_TOKENS}")
    return int(text)


def _parse_task(text: str) -> tuple[str, str]:
    name, equals, prefix = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError("expected TASK=PREFIX, where TASK is a plain word")
    return name, prefix


def _parse_group_type(text: str) -> dict[Role, Type]:
    group, _, type_name = text.partition("=")
    try:
        return expand_group_type(group, type_name)
    except ConversionError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("source", type=Path, help="directory with config.json and the weights")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument(
        "--type", choices=POLICIES, default="Q8_0", help="type of the weights (default: Q8_0)"
    )
    parser.add_argument(
        "--token-embedding-type",
        choices=get_args(TensorType),
        help="type of the embedding and the head, instead of the type that --type implies",
    )
    parser.add_argument(
        "--tensor-type",
        type=_parse_group_type,
        action="append",
        metavar="GROUP=TYPE",
        help=f"type of a group of tensors: {', '.join(GROUPS)}",
    )
    parser.add_argument("--recipe", help="a recipe with source, licence, tasks and defaults")
    parser.add_argument(
        "--name", help="the model's name in requests (default: the recipe's, or the directory's)"
    )
    parser.add_argument("--repo", help="the repository of the checkpoint, owner/name")
    parser.add_argument("--revision", help="the revision of the repository")
    parser.add_argument("--license", help="the licence, by SPDX identifier where there is one")
    parser.add_argument(
        "--prefix",
        type=_parse_task,
        action="append",
        metavar="TASK=PREFIX",
        help="a task of the model and its prefix, the first is the default; "
        "the default is the checkpoint's own, if scripts/train.py wrote it",
    )
    parser.add_argument(
        "--max-tokens", type=_parse_max_tokens, help="generation length of requests that name none"
    )
    parser.add_argument(
        "--queries", type=Path, help="a file of queries to verify with, one per line"
    )
    calibration = parser.add_mutually_exclusive_group()
    calibration.add_argument(
        "--calibrate",
        type=Path,
        metavar="FILE",
        help="queries to calibrate types of 5 bits or fewer with, one per line; "
        "other queries than those of --queries",
    )
    calibration.add_argument(
        "--no-calibration",
        action="store_true",
        help="round each value independently, which is faster",
    )
    parser.add_argument(
        "--imatrix-out",
        type=Path,
        metavar="FILE",
        help="also write an importance matrix for llama-quantize, from the calibration queries",
    )
    parser.add_argument(
        "--trim-vocabulary",
        type=Path,
        metavar="TEXT",
        help="keep only the pieces of this file's lines (queries and answers), and those that any "
        "other text can be spelled with",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the file")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
