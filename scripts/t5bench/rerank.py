"""Compares reranking with PyTorch and ONNX Runtime, and measures what it costs queries beside it.

All judge the same documents, interleaved. A peer's fastest batch is compared. The service is
measured with `--beside`: a query's time alone and beside a rerank request, and with `--calls`: the
memory over many requests. Results are printed as Markdown, and written to OUT.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from t5bench import environment, process
from t5bench.comparison import print_progress
from t5bench.errors import BenchError
from t5bench.files import RELEVANCE, Files
from t5bench.interpreters import Interpreter
from t5bench.peers import describe_machine
from t5bench.queries import Query, draw_queries
from t5bench.rerank_service import measure_beside, measure_memory
from t5bench.runner import EngineRunner, EngineSession
from t5bench.shapes import SHAPES
from t5engine.cpus import Share, plan
from t5gguf.quantize import POLICIES

BATCHES = (4, 8, 32)
QUERY_TOKENS, QUERIES = 12, 8
Results = dict[str, Any]


@dataclass(frozen=True)
class Contestant:
    """An engine, or several settings of one, of which the fastest is compared."""

    name: str
    runners: list[EngineRunner]


def run(options: argparse.Namespace) -> None:
    """Measures, prints the tables, and writes the results.

    Raises:
        BenchError: A candidate failed.
    """
    if options.tokenizer is None and not (options.work / options.shape / "checkpoint").is_dir():
        raise BenchError("pass a directory with T5's spiece.model as --tokenizer")
    files = Files.from_shape(options.shape, options.work, options.tokenizer or options.work)
    share = plan(1, options.threads)[0]
    packages = {name: Interpreter(name).description for name in options.contestants}
    results: Results = {"machine": describe_machine(packages), "threads": share.threads}
    if options.rounds:
        results["speed"] = compare(files, share, options)
    for file_type in options.types:
        path = files.make_reranker(file_type)
        if options.beside:
            print_progress(f"{file_type}: a query beside a rerank request")
            queries = draw_queries(files.vocabulary, QUERY_TOKENS, QUERIES, options.seed)
            documents = _documents(files, options)
            measured = measure_beside(path, share.threads, documents, queries, options)
            results.setdefault("beside", {})[file_type] = measured
        if options.calls:
            print_progress(f"{file_type}: memory over {options.calls} requests")
            measured = measure_memory(path, share.threads, options.calls)
            results.setdefault("memory", {})[file_type] = measured
    options.out.parent.mkdir(parents=True, exist_ok=True)
    out = options.out.with_name(f"{options.out.name}.json")
    out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print_progress(f"\n{format_results(results)}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--shape", choices=SHAPES, default="t5-base")
    parser.add_argument("--work", type=Path, required=True, help="where converted files are kept")
    parser.add_argument("--out", type=Path, default=Path("rerank"), help="name of the results")
    parser.add_argument("--tokenizer", type=Path, help="directory of T5's spiece.model")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--types", nargs="+", choices=POLICIES, default=["Q8_0", "Q4_0"])
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128, help="of each input")
    parser.add_argument("--rounds", type=int, default=10, help="0: no comparison")
    parser.add_argument("--trial-rounds", type=int, default=2, help="to find a peer's batch")
    parser.add_argument("--threads", type=int, help="of each candidate; default: the cores")
    parser.add_argument("--beside", type=int, default=0, help="queries with and without, each")
    parser.add_argument("--calls", type=int, default=0, help="requests to watch the memory over")
    parser.add_argument("--seed", type=int, default=0)


def compare(files: Files, share: Share, options: argparse.Namespace) -> Results:
    """Returns the seconds of each candidate's rounds, interleaved, and the settings tried."""
    random = Random(options.seed)  # noqa: S311 - a shuffle
    documents = _documents(files, options)
    tokens = [files.vocabulary.tokens.index(token) for token in RELEVANCE.tokens]
    trials: Results = {}
    with ExitStack() as stack:
        sessions: dict[str, EngineSession] = {}
        for name in options.contestants:
            if (advice := Interpreter(name).advice) is not None:
                raise BenchError(f"{name}: {advice}")
            for contestant in CONTESTANTS[name](files, share, options.types):
                print_progress(f"{contestant.name}: starting")
                best, *others = contestant.runners
                if others:
                    for runner in contestant.runners:
                        rounds = options.trial_rounds
                        trials[runner.name] = _time_alone(runner, documents, tokens, rounds)
                    best = min(contestant.runners, key=lambda runner: trials[runner.name])
                sessions[contestant.name] = best.start()
                stack.callback(sessions[contestant.name].close)
        samples = defaultdict(list)
        scores = {}
        for number in range(-1, options.rounds):
            for name in random.sample(list(sessions), len(sessions)):
                judged = sessions[name].judge(documents, tokens)
                process.wait_until_idle(sessions[name].pid)
                scores[name] = judged.logits
                if number >= 0:
                    samples[name].append(judged.total_ms)
    _check_counts(scores, len(documents))
    return {"documents": len(documents), "milliseconds": dict(samples), "trials": trials}


def _documents(files: Files, options: argparse.Namespace) -> list[Query]:
    return draw_queries(files.vocabulary, options.tokens, options.documents, options.seed)


def _time_alone(
    runner: EngineRunner, documents: list[Query], tokens: list[int], rounds: int
) -> float:
    session = runner.start()
    try:
        session.judge(documents, tokens)
        times = [session.judge(documents, tokens).total_ms for _ in range(rounds)]
    finally:
        session.close()
    return statistics.median(times)


def _check_counts(scores: dict[str, list[list[float]]], count: int) -> None:
    for name, logits in scores.items():
        if len(logits) != count or not all(len(pair) == 2 for pair in logits):
            raise BenchError(f"{name} judged {len(logits)} of {count} documents")


def _ours(files: Files, share: Share, types: list[str]) -> list[Contestant]:
    return [
        Contestant(
            f"t5serve {file_type}",
            [
                EngineRunner(
                    file_type,
                    "t5engine",
                    {"path": str(files.make_reranker(file_type)), "threads": share.threads},
                    environment.openmp_variables(share),
                    share.cpus,
                )
            ],
        )
        for file_type in types
    ]


def _pytorch(files: Files, share: Share, _types: list[str]) -> list[Contestant]:
    arguments = {
        "path": str(files.checkpoint),
        "threads": share.threads,
        "dtype": "float32",
    }
    return [_peer("PyTorch fp32", "pytorch", arguments, share)]


def _onnxruntime(files: Files, share: Share, _types: list[str]) -> list[Contestant]:
    layouts = {
        "by tensor": files.make_onnx_int8(sys.executable),
        "by channel": files.make_onnx_int8(sys.executable, per_channel=True),
    }
    runners: list[EngineRunner] = []
    for label, path in layouts.items():
        arguments = {"path": str(path), "suffix": "_quantized", "threads": share.threads}
        runners += _peer(f"ONNX Runtime int8, {label}", "onnx_judge", arguments, share).runners
    return [Contestant("ONNX Runtime int8", runners)]


def _peer(name: str, engine: str, arguments: dict[str, Any], share: Share) -> Contestant:
    variables = {"OMP_NUM_THREADS": str(share.threads)}
    runners = [
        EngineRunner(f"{name}, batches of {batch}", engine, arguments | {"batch": batch}, variables)
        for batch in BATCHES
    ]
    return Contestant(name, runners)


CONTESTANTS = {"t5serve": _ours, "pytorch": _pytorch, "onnxruntime": _onnxruntime}


def format_results(results: Results) -> str:
    """Returns the results as Markdown."""
    lines: list[str] = []
    if speed := results.get("speed"):
        lines += ["|  | documents per second | median | slowest |", "| --- | --: | --: | --: |"]
        for name, samples in speed["milliseconds"].items():
            rate = 1000 * speed["documents"] / statistics.median(samples)
            lines.append(
                f"| {name} | {rate:.1f} | {statistics.median(samples):.0f} ms"
                f" | {max(samples):.0f} ms |"
            )
        lines += ["", "All settings that were tried, with their medians in milliseconds:", ""]
        lines += [f"- {name}: {median:.0f}" for name, median in speed["trials"].items()]
    for file_type, figures in results.get("beside", {}).items():
        lines.append(
            f"\n{file_type}: a query takes {figures['alone_ms']:.1f} ms alone (median),"
            f" {figures['beside_ms']:.1f} ms beside a rerank request."
        )
    for file_type, figures in results.get("memory", {}).items():
        texts = [f"{count}: {size / 1e6:.1f} MB" for count, size in figures.items()]
        lines.append(f"\n{file_type}: private memory by requests: {', '.join(texts)}.")
    return "\n".join(lines)
