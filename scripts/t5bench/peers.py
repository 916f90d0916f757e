"""Compares this engine with others that run T5 on a CPU, and writes the results.

Writes OUT.json, OUT.md and OUT.png. The extra `bench` installs the peers but OpenVINO, which needs
an environment of its own (extra `bench-openvino`, `--python openvino=PATH`); a peer that is not
installed is left out. The work directory keeps converted files for the next run.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, get_args

from t5bench import candidates, history, interpreters, plot, tables
from t5bench.candidates import Choice
from t5bench.comparison import Plan, compare, print_progress
from t5bench.errors import BenchError
from t5bench.files import Files
from t5bench.shapes import SHAPES
from t5engine.config import KernelsName
from t5engine.kernels.loader import Kernels
from t5gguf.convert import QUERIES
from t5gguf.quantize import POLICIES
from t5serve.commands import machine

EMBEDDED = "embedded"
MAIN = (12, 12)  # a search query, and its reformulation


def run(options: argparse.Namespace) -> None:
    """Compares on each shape in turn, and writes the files after each shape.

    Raises:
        BenchError: No candidate is left, or a candidate failed.
    """
    plan = _build_plan(options)
    shapes = [_locate_files(name, options) for name in options.shapes]
    results: dict[str, Any] = {
        "machine": describe_machine(
            {group: plan.choice.interpreters[group].description for group in plan.choice.groups}
        ),
        "settings": _settings(options),
        "shapes": [],
    }
    for files in shapes:
        print_progress(f"\n{files.directory.name}")
        prefix = "" if files.is_random else options.prefix
        if options.prepare:
            candidates.make_files(plan.choice, files, prefix)
            continue
        results["shapes"].append(compare(files, plan, prefix))
        _write(results, options.out)
    if results["shapes"]:
        if options.history is not None:
            print_progress(f"kept: {history.keep(results, options.out.name, options.history)}")
        print_progress(f"\n{tables.format_tables(results)}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments; the defaults are those of docs/performance.md."""
    parser.add_argument(
        "--shapes",
        nargs="+",
        choices=[EMBEDDED, *SHAPES],
        default=["t5-base"],
        help=f"{EMBEDDED}: the checkpoint of --embedded; the others have seeded random weights",
    )
    parser.add_argument("--work", type=Path, required=True, help="where converted files are kept")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="name of the results")
    parser.add_argument(
        "--history", type=Path, help="directory that keeps the JSON as NAME-DATE.json"
    )
    parser.add_argument(
        "--python",
        metavar="GROUP=PATH",
        action="append",
        default=[],
        type=interpreters.parse_assignment,
        help="the interpreter of a peer with an environment of its own",
    )
    parser.add_argument(
        "--isa",
        nargs="+",
        choices=get_args(KernelsName),
        default=["auto"],
        help="instruction sets that this engine is limited to, each a candidate per file",
    )
    parser.add_argument("--tokenizer", type=Path, help="directory of T5's spiece.model")
    parser.add_argument("--embedded", type=Path, help="checkpoint of the included model")
    parser.add_argument("--prefix", default="", help=f"of the {EMBEDDED} model's inputs")
    parser.add_argument(
        "--contestants", nargs="+", choices=candidates.GROUPS, default=candidates.GROUPS
    )
    parser.add_argument(
        "--leave-out", nargs="+", default=[], metavar="NAME", help="candidates by their names"
    )
    parser.add_argument(
        "--types", nargs="+", choices=POLICIES, default=["F16", "Q8_0", "Q4_0"], metavar="TYPE"
    )
    parser.add_argument("--tokens-in", nargs="+", type=int, default=[8, 12, 32, 64])
    parser.add_argument("--tokens-out", nargs="+", type=int, default=[12, 32])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument(
        "--main-rounds", type=int, default=40, help="of {} tokens in, {} out".format(*MAIN)
    )
    parser.add_argument("--trial-rounds", type=int, default=5, help="to find a peer's settings")
    parser.add_argument("--cold-starts", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of each candidate; default: the cores")
    parser.add_argument("--queries", type=Path, default=QUERIES, help="real queries, one per line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prepare", action="store_true", help="convert only")


def _build_plan(options: argparse.Namespace) -> Plan:
    choice = _choose(options)
    pairs = list(product(options.tokens_in, options.tokens_out))
    return Plan(
        choice=choice,
        tokens_in=options.tokens_in,
        tokens_out=options.tokens_out,
        main=MAIN if MAIN in pairs else pairs[0],
        rounds=options.rounds,
        main_rounds=options.main_rounds,
        trial_rounds=options.trial_rounds,
        cold_starts=options.cold_starts,
        threads=options.threads,
        lines=options.queries.read_text(encoding="utf-8").splitlines(),
        seed=options.seed,
    )


def _choose(options: argparse.Namespace) -> Choice:
    """Leaves out what is not installed, and instruction sets that the processor lacks.

    Raises:
        BenchError: No candidate is left, or an interpreter does not run.
    """
    found = interpreters.find_interpreters(dict(options.python))
    groups = []
    for group in options.contestants:
        if advice := found[group].advice:
            print_progress(f"{group} is left out: {advice}")
        else:
            groups.append(group)
    kernels = []
    for name in options.isa:
        if name in {"auto", "ggml"} or Kernels.find(name):
            kernels.append(name)
        else:
            print_progress(f"{name} is left out: this processor lacks it")
    if not kernels and "t5serve" in groups:
        groups.remove("t5serve")
    if not groups:
        raise BenchError("no candidate is left: see what is left out above")
    return Choice(groups, options.types, kernels, found, options.leave_out)


def _locate_files(name: str, options: argparse.Namespace) -> Files:
    if name == EMBEDDED:
        if options.embedded is None:
            raise BenchError(f"--shapes {EMBEDDED} needs --embedded, its checkpoint's directory")
        return Files.from_checkpoint(name, options.work, options.embedded)
    if options.tokenizer is None:
        raise BenchError(f"--shapes {name} needs --tokenizer, a directory with T5's spiece.model")
    return Files.from_shape(name, options.work, options.tokenizer)


def describe_machine(packages: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the machine, the commit, and the packages by the group that uses them."""
    return {
        "processor": machine.processor(),
        "features": machine.features(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": _describe_commit(),
        "packages": packages,
        "load": machine.load(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _describe_commit() -> str | None:
    """Returns the commit of this working tree, with `-dirty` after changes; None without git."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    described = subprocess.run(command, check=False, capture_output=True, text=True)
    return described.stdout.strip() or None


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options, so that the run can be repeated; files by their names.

    The options that only name places on this machine are left out.
    """
    return {
        name: value.name if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name not in {"out", "work", "python", "history"}
    }


def _write(results: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    _with_suffix(out, ".json").write_text(history.to_json(results), encoding="utf-8")
    _with_suffix(out, ".md").write_text(tables.format_tables(results), encoding="utf-8")
    if find_spec("matplotlib") is None:
        print_progress("no picture: matplotlib is not installed (extra `bench`)")
    else:
        plot.save(results, _with_suffix(out, ".png"))


def _with_suffix(out: Path, suffix: str) -> Path:
    return out.with_name(out.name + suffix)  # "v1.1" has no suffix to replace
