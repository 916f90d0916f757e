"""Command line: `t5gguf SOURCE_DIR --out FILE.gguf --type Q8_0`, or `t5gguf fetch NAME`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from gguf import GGMLQuantizationType as Type

from t5engine.decoding.parameters import MAX_TOKENS
from t5gguf import recipe as recipes
from t5gguf import size
from t5gguf.checkpoint import Config
from t5gguf.convert import Converter, Written
from t5gguf.errors import ConversionError
from t5gguf.quantize import F16_INPUT_LIMIT, GROUPS, POLICIES, group_types
from t5gguf.recipe import Recipe, RecipeError, TensorType
from t5gguf.tensor_map import Role
from t5gguf.trimming import Loss
from t5gguf.vocab import Trimming
from t5gguf.writer import Provenance, padded_rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts and verifies; one line per fault and status 1 when that fails."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["fetch"]:  # a directory of that name is ./fetch
        from t5gguf.fetch.__main__ import main as fetch  # noqa: PLC0415 - the hub's client is slow

        return fetch(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except (ConversionError, RecipeError, OSError, UnicodeDecodeError) as error:
        print(f"t5gguf: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    recipe = recipes.load(options.recipe) if options.recipe else None
    queries = options.queries.read_text(encoding="utf-8").splitlines() if options.queries else []
    calibration = None
    if options.no_calibration or (recipe and not recipe.quantisation.calibration):
        calibration = []
    if options.calibrate:
        calibration = _calibration(options.calibrate)
    converter = Converter(
        options.source,
        _provenance(options, recipe),
        queries,
        calibration,
        options.trim_vocabulary,
    )
    trimming = converter.vocabulary.trimming
    if trimming and converter.loss:
        print(_trimmed(trimming, converter.loss))
    print(f"largest ffn_down input over the sample queries: {converter.max_ffn_down_input:.0f}")
    if converter.max_ffn_down_input > F16_INPUT_LIMIT:
        print("that is too much for F16: ffn_down stays BF16 in F16 files")
    if options.imatrix_out:
        converter.write_imatrix(
            options.imatrix_out, force=options.force, progress=not options.quiet
        )
    written = converter.convert(
        options.out,
        options.type,
        force=options.force,
        types=_types(options, recipe),
        progress=not options.quiet,
    )
    figures = written.figures
    print(
        f"{written.path}: {written.size / 1e6:.1f} MB, verified; logits off by "
        f"{figures.rms:.2g} of their deviation (rms, at most {figures.maximum:.2g}), "
        f"same best token at {figures.agreement:.1%} of positions"
    )
    if trimming:
        print(_saved(written, trimming))


def _trimmed(trimming: Trimming, loss: Loss) -> str:
    return (
        f"{len(trimming.ids):,} of the vocabulary's {trimming.rows:,} rows stay; of "
        f"{loss.queries} sample queries {loss.same_pieces} are cut as before, "
        f"{loss.same_answers} are answered as before"
    )


def _saved(written: Written, trimming: Trimming) -> str:
    before = size.with_rows(written.tensors, padded_rows(trimming.rows))
    return (
        f"weights: {size.total(written.tensors):,} bytes instead of {size.total(before):,}; "
        f"a decode step reads {size.step(written.tensors):,} instead of {size.step(before):,}"
    )


def _calibration(path: Path) -> list[str]:
    """The queries of a file, a line each.

    Raises:
        ConversionError: there are none.
    """
    queries = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not queries:
        raise ConversionError(f"{path} has no query: expected one a line")
    return queries


def _types(options: argparse.Namespace, recipe: Recipe | None) -> dict[Role, Type]:
    """Other types than the policy's: the recipe's, over it the command line's."""
    embedding = options.token_embedding_type or (
        recipe.quantisation.token_embedding_type if recipe else None
    )
    types = group_types("embedding", embedding) if embedding else {}
    for given in options.tensor_type or []:
        types |= given
    return types


def _provenance(options: argparse.Namespace, recipe: Recipe | None) -> Provenance:
    """What was said on the command line, else what the recipe says, else the checkpoint."""
    tasks = dict(options.prefix or [])
    limit = {"max_tokens": options.max_tokens} if options.max_tokens else {}
    if recipe is None:
        return Provenance(
            name=options.name or options.source.resolve().name,
            repo=options.repo or "",
            revision=options.revision or "",
            license=options.license or "",
            tasks=tasks or Config.load(options.source).prefixes,
            generation=limit,
        )
    return Provenance(
        name=options.name or recipe.name,
        repo=options.repo or recipe.source.repo,
        revision=options.revision or recipe.source.revision,
        license=options.license or recipe.license,
        tasks=tasks or recipe.prefixes,
        generation={**recipe.generation.given(), **limit},
    )


def _max_tokens(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_TOKENS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MAX_TOKENS}")
    return int(text)


def _task(text: str) -> tuple[str, str]:
    name, equals, prefix = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError("expected TASK=PREFIX, the task's name a plain word")
    return name, prefix


def _group(text: str) -> dict[Role, Type]:
    group, _, kind = text.partition("=")
    try:
        return group_types(group, kind)
    except ConversionError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="t5gguf",
        description="Convert a Hugging Face T5 checkpoint to a verified GGUF file.",
        epilog="`t5gguf fetch --help` tells how to get one.",
    )
    parser.add_argument("source", type=Path, help="directory with config.json and the weights")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--type", choices=POLICIES, default="Q8_0")
    parser.add_argument(
        "--token-embedding-type",
        choices=get_args(TensorType),
        help="type of the embedding and the head instead of the usual one",
    )
    parser.add_argument(
        "--tensor-type",
        type=_group,
        action="append",
        metavar="GROUP=TYPE",
        help=f"likewise of a group of tensors: {', '.join(GROUPS)}",
    )
    parser.add_argument("--recipe", help="take source, licence, tasks and defaults from it")
    parser.add_argument("--name", help="the model's name")
    parser.add_argument("--repo", help="where the checkpoint is from, owner/name")
    parser.add_argument("--revision", help="and which revision")
    parser.add_argument("--license", help="its licence, by SPDX identifier where there is one")
    parser.add_argument(
        "--prefix",
        type=_task,
        action="append",
        metavar="TASK=PREFIX",
        help="a task of the model and its prefix, the first is the default; "
        "scripts/train.py's checkpoints tell theirs",
    )
    parser.add_argument(
        "--max-tokens", type=_max_tokens, help="generation length when none is asked for"
    )
    parser.add_argument("--queries", type=Path, help="a query a line, to verify with")
    calibration = parser.add_mutually_exclusive_group()
    calibration.add_argument(
        "--calibrate",
        type=Path,
        metavar="FILE",
        help="a query a line, to calibrate types of 5 bits and fewer with; not those of --queries",
    )
    calibration.add_argument(
        "--no-calibration", action="store_true", help="round each value by itself, which is faster"
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
        help="keep only the pieces that this file's lines, queries and answers, are cut into, "
        "and what anything else can be spelled with",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the file")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


if __name__ == "__main__":
    sys.exit(main())
