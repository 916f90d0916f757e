"""`t5serve doctor`: checks machine, build, settings and model, and advises changes."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from math import prod
from pathlib import Path

from gguf import GGMLQuantizationType

from t5engine.cpus import SHORT_STEP, Share, quota, usable_cores
from t5engine.header import HeaderError, open_checked
from t5engine.memory import available_bytes
from t5gguf.convert import QUERIES
from t5serve import __version__
from t5serve.commands import machine
from t5serve.errors import StartupError
from t5serve.models.declaration import Declaration
from t5serve.models.models_file import find_declaration, read_declarations
from t5serve.models.placement import Placement
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.options import Options
from t5serve.reformulation.results import QueryResult
from t5serve.settings import Settings

BUDGET_MS = 100.0  # the target for one reformulation
LARGE_BYTES = 400_000_000  # for comparison: t5-base has 238 MB in Q8_0 and 127 MB in Q4_0
REBUILD = (
    "compile it for this machine: remove .venv and run scripts/install, or "
    'CMAKE_ARGS="-DGGML_NATIVE=ON" pip install --force-reinstall --no-binary llama-cpp-python '
    "llama-cpp-python"
)


@dataclass(frozen=True)
class Finding:
    """A fact about the machine, the build, the settings or the model.

    Attributes:
        advice: what to change; None if nothing.
    """

    name: str
    value: str
    advice: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("--json", action="store_true", help="print JSON, for a ticket or a script")


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Prints the findings, then the advice.

    Raises:
        StartupError: the model can't be served.
    """
    declarations = read_declarations(settings)
    placement = Placement(declarations, settings.cpu_set)
    findings = [*_check_machine(), _check_cores(settings)]
    advice = _advise_on_threads(settings, declarations, placement)
    chosen = declarations
    if settings.models_file is not None and options.model is not None:
        chosen = [find_declaration(settings, options.model)]
    features: list[str] = []
    for declaration in declarations:
        shares = placement.shares(declaration)
        if declaration not in chosen:
            plan = _describe_shares(shares)
            findings.append(Finding("threads", f"{declaration.name}: {plan}, not loaded", advice))
            advice = None
            continue
        try:
            async with ServedModel.from_settings(settings, declaration, shares) as model:
                features = model.engine.features
                await model.engine.wait_for_workers()
                found = [
                    _check_threads(model, declaration, advice),
                    _check_memory(model.path, len(model.engine.shares)),
                    _check_model(model),
                    await _measure_speed(settings, model),
                ]
        except StartupError as error:
            if settings.models_file is None:
                raise
            found = [Finding("model", str(error), "mend it, or remove it from the file of models")]
        else:
            advice = None  # it is about all models together
        if settings.models_file is not None:
            found = [replace(one, value=f"{declaration.name}: {one.value}") for one in found]
        findings += found
    if features:
        findings.append(_check_build(features))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        print(_format_findings(findings))
    return 0


def _format_findings(findings: Sequence[Finding]) -> str:
    lines = [f"{finding.name:10} {finding.value}" for finding in findings]
    advice = [finding for finding in findings if finding.advice]
    lines += ["", "What to change:" if advice else "Nothing to change."]
    lines += [f"- {finding.name}: {finding.advice}" for finding in advice]
    return "\n".join(lines)


def _check_machine() -> Iterator[Finding]:
    yield Finding(
        "versions",
        f"t5serve {__version__}, llama-cpp-python {version('llama-cpp-python')}, "
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    )
    yield Finding("processor", machine.processor() or "unknown")
    load, processors = machine.load(), os.cpu_count() or 1
    yield Finding(
        "load",
        f"{load:.2f} on {processors} processors",
        "other programs are running; they slow every token, also in the speed that was measured"
        if load > processors / 4
        else None,
    )
    governor = machine.governor()
    if governor is not None:
        is_slow = governor == "powersave"
        yield Finding(
            "clock", governor, "set the governor to performance or schedutil" if is_slow else None
        )


def _check_cores(settings: Settings) -> Finding:
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    cores = len(usable_cores(settings.cpu_set))
    limit = quota()
    return Finding(
        "cores",
        f"{cores} physical cores in {len(settings.cpu_set or allowed) or cores} allowed "
        f"processors; quota {'none' if limit is None else limit}",
    )


def _advise_on_threads(
    settings: Settings, declarations: Sequence[Declaration], placement: Placement
) -> str | None:
    """Returns what to change about the threads of all models together; None: nothing."""
    cores = len(usable_cores(settings.cpu_set))
    limit = quota()
    at_start = [declaration for declaration in declarations if declaration.load == "start"]
    threads = sum(share.threads for each in at_start for share in placement.shares(each))
    if threads > min(cores, limit or cores):
        return (
            "there are more threads than cores or quota; lower T5SERVE_THREADS or "
            "T5SERVE_WORKERS, or leave T5SERVE_THREADS unset"
        )
    if threads < min(cores, limit or cores) and any(each.threads for each in at_start):
        return "some cores are idle; unset T5SERVE_THREADS, unless other programs need them"
    return None


def _check_threads(model: ServedModel, declaration: Declaration, advice: str | None) -> Finding:
    value = _describe_shares(model.engine.shares)
    if declaration.load == "first_use":
        value += ", loaded on first use"
    return Finding("threads", f"{value}; {_explain_shares(model, declaration)}", advice)


def _explain_shares(model: ServedModel, declaration: Declaration) -> str:
    """Returns why the model has so many workers and threads."""
    seconds = model.engine.step_seconds
    if not seconds:
        is_set = declaration.workers is not None or declaration.threads is not None
        return "as set" if is_set else "one worker with all its threads"
    steps = " and ".join(
        f"{1000 * seconds[threads]:.2f} ms on {threads} thread{'s' if threads > 1 else ''}"
        for threads in sorted(seconds)
    )
    limit = f"{1000 * SHORT_STEP:g} ms"
    reason = f"a step takes {steps}; "
    if len(model.engine.shares) > 1:
        return f"{reason}under {limit} on one thread, a worker per core answers more queries"
    return f"{reason}over {limit} on one thread, a step is shared by all threads"


def _describe_shares(shares: Sequence[Share]) -> str:
    is_pinned = all(len(share.cpus) == share.threads for share in shares)
    cpus = sorted({cpu for share in shares for cpu in share.cpus})
    place = "not pinned"
    if cpus:
        listed = ", ".join(map(str, cpus))
        place = f"pinned to {listed}" if is_pinned else f"not pinned, within {listed}"
    return f"{len(shares)} x {shares[0].threads}, {place}"


def _check_build(compiled: Sequence[str]) -> Finding:
    features = machine.features()
    missing = [name for name in features if name not in compiled]
    return Finding(
        "kernels",
        " ".join(name for name in features if name in compiled) or "generic",
        f"ggml was compiled without {' '.join(missing)}, which the processor has; {REBUILD}"
        if missing
        else None,
    )


def _check_memory(path: Path, workers: int) -> Finding:
    size, available = path.stat().st_size, available_bytes()
    value = f"{size / 1e6:.0f} MB of model"
    if available is None:
        return Finding("memory", value)
    # Workers share the file. For repacked types a worker has a copy, at most as large as the file.
    needed = size * (1 + workers)
    return Finding(
        "memory",
        f"{value}, {available / 1e6:,.0f} MB available",
        "the machine may swap; use fewer workers or a smaller type" if needed > available else None,
    )


def _check_model(model: ServedModel) -> Finding:
    try:
        file = open_checked(model.path)
    except HeaderError as error:
        raise StartupError(str(error)) from error
    sizes: Counter[int] = Counter()
    for tensor in file.tensors.values():
        sizes[tensor.tensor_type] += prod(tensor.shape)
    main_type = GGMLQuantizationType(sizes.most_common(1)[0][0]).name
    advice = None
    if model.path.stat().st_size > LARGE_BYTES:
        advice = (
            "a Q4_0 file reads a quarter to half of these bytes per token; see scripts/convert.py"
        )
    if "llama backend" in model.info.description:
        advice = (
            "llama.cpp's graph serves it at half the speed; T5SERVE_BACKEND=graph shows the reason"
        )
    full_vocabulary = file.metadata.get("t5serve.trimming.rows")
    trimmed = ""
    if full_vocabulary:
        trimmed = f"vocabulary trimmed to {model.info.n_vocab:,} of {full_vocabulary:,}; "
    return Finding(
        "model",
        f"{model.info.description}, {sum(sizes.values()) / 1e6:.1f} M parameters, "
        f"mostly {main_type}; {trimmed}tasks: {', '.join(model.profile.tasks)}",
        advice,
    )


async def _measure_speed(settings: Settings, model: ServedModel) -> Finding:
    """Measures the time of one query at a time, on an idle service."""
    queries = QUERIES.read_text(encoding="utf-8").splitlines()
    options = Options(strategy="greedy", timeout_ms=settings.timeout_ms)
    durations_ms: list[float] = []
    results: list[QueryResult] = []
    for query in queries:
        started = time.perf_counter()
        results += await model.reformulator.reformulate([query], options)
        durations_ms.append(1000 * (time.perf_counter() - started))
    median = statistics.median(durations_ms)
    encode = statistics.median(result.timings.encode for result in results)
    token = statistics.median(
        result.timings.decode / (result.completion_tokens + 1) for result in results
    )
    return Finding(
        "speed",
        f"{median:.1f} ms per query, 95 of 100 under "
        f"{statistics.quantiles(durations_ms, n=20)[-1]:.1f} ms; "
        f"encode {encode:.1f} ms, token {token:.2f} ms (median of {len(queries)})",
        f"over {BUDGET_MS:.0f} ms; use a smaller type (Q4_0), fewer tokens (max_tokens), more cores"
        if median > BUDGET_MS
        else None,
    )
