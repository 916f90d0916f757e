"""Compares the two backends on the same files, and the graph's kernels with each other.

All run in one pinned process, interleaved: every round runs each backend once. The printed times
are medians. Inputs are random tokens, outputs have a fixed length. `llama` decodes several rows
as llama.cpp does: one call encodes all inputs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from msgspec import structs

from t5bench import environment, probe
from t5bench.errors import BenchError
from t5engine.backend import BackendError
from t5engine.config import KernelsName
from t5engine.decoding.parameters import MAX_TOKENS

N_BEST = 8  # sequences of one query, at most
MAX_INPUT = 512  # tokens, unless more are asked for
BATCH_INPUT = 12  # tokens of each row that is decoded with others


def run(options: argparse.Namespace) -> None:
    """Pins this process like a worker, then measures.

    Raises:
        BenchError: A file can't be loaded, or the processor lacks an instruction set.
    """
    share = environment.pin_like_worker(options.threads)
    from t5engine.worker.model import LoadError  # noqa: PLC0415 - loads OpenMP

    for file in options.files:
        try:
            _compare_backends(file, options, share.threads)
        except (LoadError, BackendError) as error:
            raise BenchError(str(error)) from error


def _compare_backends(file: Path, options: argparse.Namespace, threads: int) -> None:
    from t5engine.worker.model import load_model  # noqa: PLC0415 - as above

    names: dict[str, tuple[Literal["graph", "llama"], KernelsName]] = {
        _name(kernels): ("graph", kernels) for kernels in options.kernels
    }
    names["llama"] = ("llama", "ggml")
    models = {
        name: load_model(
            file,
            backend=backend,
            threads=threads,
            rows=max(N_BEST, *options.rows),
            max_input_tokens=max(MAX_INPUT, *options.tokens_in),
            max_tokens=MAX_TOKENS,
            logit_scale=1.0,
            kernels=kernels,
        )
        for name, (backend, kernels) in names.items()
    }
    backends = {name: loaded.backend for name, loaded in models.items()}
    print(f"\n{file.name}, {threads} threads, {options.tokens_out} tokens out")
    speed = probe.measure_bandwidth(threads)
    print(f"bandwidth: {speed / 1e9:.1f} GB/s")
    limit = 1000 * step_bytes(file) / speed
    print(f"bandwidth limit, caches left out: {limit:.2f} ms a token")
    for tokens_in in options.tokens_in:
        _compare_single_rows(backends, tokens_in, options, limit)
    _compare_batches(backends, options)
    _compare_n_best(next(iter(models.values())), options)


def _name(kernels: KernelsName) -> str:
    return {"auto": "graph", "ggml": "ggml's kernels"}.get(kernels, kernels)


def step_bytes(file: Path) -> int:
    # Imported late: `gguf` brings another OpenMP, which must not be loaded first.
    from t5bench.bandwidth import gguf_step_bytes  # noqa: PLC0415

    return gguf_step_bytes(file)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("files", nargs="+", type=Path, help="GGUF files")
    parser.add_argument("--tokens-in", nargs="+", type=positive, default=[8, 12, 32, 64])
    parser.add_argument("--tokens-out", type=positive, default=12)
    parser.add_argument("--rows", nargs="+", type=positive, default=[1, 4, 8, 16])
    parser.add_argument("--rounds", type=positive, default=15)
    parser.add_argument("--threads", type=positive)
    parser.add_argument(
        "--kernels",
        nargs="+",
        choices=get_args(KernelsName),
        default=["auto", "ggml"],
        help="what the graph multiplies with; the others are compared with the first",
    )


def _compare_single_rows(
    backends: dict[str, Any], tokens_in: int, options: argparse.Namespace, limit: float
) -> None:
    """Times one row at a time."""
    encode, token, total = (defaultdict[str, list[float]](list) for _ in range(3))
    ids = make_ids(tokens_in)
    for round_ in range(options.rounds + 1):
        for name, backend in backends.items():
            started = time.perf_counter()
            backend.encode(0, ids)
            encoded = time.perf_counter()
            best = 0
            for _ in range(options.tokens_out):
                best = int(backend.step([0], [best])[0].argmax())
            ended = time.perf_counter()
            backend.release(0)
            if round_:  # the first round builds graphs
                encode[name].append(1000 * (encoded - started))
                token[name].append(1000 * (ended - encoded) / options.tokens_out)
                total[name].append(1000 * (ended - started))
    line = f"{tokens_in:4d} in:"
    for name in backends:
        e, t, s = (statistics.median(values[name]) for values in (encode, token, total))
        line += f"  {name} encode {e:6.2f}, token {t:5.2f} ({limit / t:4.0%}), total {s:6.1f} ms"
    print(line)
    first, *others = backends
    for name in others:
        ratios = ", ".join(
            f"{part} {statistics.median(times[name]) / statistics.median(times[first]):.2f}x"
            for part, times in (("encode", encode), ("token", token), ("total", total))
        )
        print(f"        {first} against {name}: {ratios}", flush=True)


def _compare_batches(backends: dict[str, Any], options: argparse.Namespace) -> None:
    """Measures tokens per second of several rows decoded together, without encoding."""
    speeds: dict[str, list[float]] = defaultdict(list)
    for _ in range(max(3, options.rounds // 3)):
        for rows, (name, graph) in itertools.product(options.rows, backends.items()):
            if name == "llama":
                continue
            for row in range(rows):
                graph.encode(row, make_ids(BATCH_INPUT))
            batch = list(range(rows))
            graph.step(batch, [0] * rows)
            started = time.perf_counter()
            for _ in range(options.tokens_out):
                graph.step(batch, [5] * rows)
            seconds = time.perf_counter() - started
            speeds[f"{name} {rows}"].append(rows * options.tokens_out / seconds)
            for row in batch:
                graph.release(row)
        rows = max(options.rows)
        speed = _decode_llama_rows(backends["llama"], rows, options.tokens_out)
        speeds[f"llama {rows}"].append(speed)
    for name, values in speeds.items():
        print(f"  {name:>17} rows: {statistics.median(values):6.0f} tokens/s", flush=True)


def _compare_n_best(loaded: Any, options: argparse.Namespace) -> None:  # noqa: ANN401 - see `load`
    """Compares several sequences of one query with as many requests for one sequence."""
    from t5engine.decoding.parameters import GenerationConfig  # noqa: PLC0415
    from t5engine.messages import Generate  # noqa: PLC0415
    from t5engine.worker.job import Generation  # noqa: PLC0415
    from t5engine.worker.step import decode_step  # noqa: PLC0415

    plain = GenerationConfig(
        max_tokens=options.tokens_out,
        logit_bias={loaded.vocabulary.eos: -100.0},  # fixes the length
    )
    sampled = structs.replace(plain, do_sample=True, seed=1)
    settings = {
        f"{N_BEST} samples": structs.replace(sampled, num_return_sequences=N_BEST),
        "4 beams": structs.replace(plain, num_beams=4, num_return_sequences=4),
        "4 diverse beams": structs.replace(
            plain, num_beams=4, num_beam_groups=4, diversity_penalty=1.0, num_return_sequences=4
        ),
        "one sample": sampled,
        "one greedy": plain,
    }
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds + 1):
        for name, config in settings.items():
            started = time.perf_counter()
            generation = Generation(Generate(0, config, ids=make_ids(12)), loaded, 0)
            while generation.rows:
                decode_step(loaded, [generation])
            times[name].append(1000 * (time.perf_counter() - started))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    for name, count, baseline in (
        (f"{N_BEST} samples", N_BEST, "one sample"),
        ("4 beams", 4, "one greedy"),
        ("4 diverse beams", 4, "one greedy"),
    ):
        share = medians[name] / (count * medians[baseline])
        print(
            f"  {name}: {medians[name]:.1f} ms, {share:.0%} of {count} requests"
            f" ({medians[baseline]:.1f} ms each)",
            flush=True,
        )


def _decode_llama_rows(backend: Any, rows: int, tokens: int) -> float:  # noqa: ANN401 - as above
    """Decodes several sequences in a new llama.cpp context; returns tokens per second."""
    import llama_cpp  # noqa: PLC0415

    params = llama_cpp.llama_context_default_params()
    positions = 1 + tokens  # the first one builds the graph
    capacity = max(MAX_INPUT, rows * BATCH_INPUT)
    params.n_ctx = 32 * rows * ((positions + 31) // 32) + capacity
    params.n_batch = params.n_ubatch = capacity
    params.n_seq_max = rows
    params.kv_unified = True
    params.n_threads = params.n_threads_batch = int(os.environ["OMP_NUM_THREADS"])
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama_cpp.llama_init_from_model(backend.native, params)
    if not context:
        raise BenchError(f"llama.cpp can't decode {rows} rows")
    batch = llama_cpp.llama_batch_init(capacity, 0, 1)

    def fill(entries: Sequence[tuple[int, int, int]]) -> None:
        for index, (token, position, sequence) in enumerate(entries):
            batch.token[index], batch.pos[index] = token, position
            batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, sequence, 1
        batch.n_tokens = len(entries)

    fill([(t, p, row) for row in range(rows) for p, t in enumerate(make_ids(BATCH_INPUT))])
    llama_cpp.llama_encode(context, batch)
    started = 0.0
    for position in range(positions):
        if position == 1:
            started = time.perf_counter()
        fill([(5, position, row) for row in range(rows)])
        llama_cpp.llama_decode(context, batch)
    seconds = time.perf_counter() - started
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    return rows * tokens / seconds


def positive(text: str) -> int:
    """Parses a number of the command line that is at least 1.

    Raises:
        ValueError: The text is no such number.
    """
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def make_ids(count: int) -> list[int]:
    """Returns `count` ids, the same in every call, with `</s>` last."""
    return [5 + 37 * index % 7000 for index in range(count - 1)] + [1]
