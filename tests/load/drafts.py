"""Greedy decoding with drafts from the input and without, on real queries: same tokens, less time?

`python tests/load/drafts.py QUERIES.txt --model FILE.gguf`: a query a line. In one process, pinned;
each query is decoded both ways, one after the other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from t5engine.config import WorkerConfig
from t5engine.cpus import plan
from t5engine.decoding.parameters import MAX_TOKENS, GenerationConfig
from t5engine.messages import Generate, Generated
from t5gguf import recipe

TASKS = ("paraphrase", "fix", "expand")


def main() -> None:
    """Prints both medians, the ratio, the tokens kept, and every output that differs."""
    options = _parser().parse_args()
    share = plan(1, None)[0]
    if "OMP_NUM_THREADS" not in os.environ:  # read by OpenMP when it is loaded: start anew
        config = WorkerConfig("", share.threads, list(share.cpus), 1)
        os.execve(  # noqa: S606
            sys.executable, [sys.executable, *sys.argv], {**os.environ, **config.environment()}
        )
    if share.cpus:
        os.sched_setaffinity(0, share.cpus)
    from t5engine.worker import model
    from t5engine.worker.job import Generation
    from t5engine.worker.step import decode_step

    loaded = model.load_model(
        options.model,
        backend="graph",
        threads=share.threads,
        rows=1,
        max_input_tokens=512,
        max_tokens=MAX_TOKENS,
        logit_scale=None,
    )

    def generate(text: str, drafts: int) -> tuple[Generated, float]:
        started = time.perf_counter()
        generation = Generation(
            Generate(0, GenerationConfig(max_tokens=options.max_tokens), text=text), loaded, 0
        )
        while generation.rows:
            messages = decode_step(loaded, [generation], drafts)
        (outcome,) = messages
        assert isinstance(outcome, Generated), outcome
        return outcome, 1000 * (time.perf_counter() - started)

    queries = options.queries.read_text(encoding="utf-8").split("\n")
    different = 0
    for task in options.tasks:
        times: dict[int, list[float]] = {0: [], options.drafts: []}
        tokens: Counter[str] = Counter()
        for place, query in enumerate([q for q in queries if q.strip()][: options.most]):
            outcomes = {}
            for drafts in sorted(times, reverse=bool(place % 2)):
                outcomes[drafts], milliseconds = generate(f"{task}: {query}", drafts)
                times[drafts].append(milliseconds)
            plain, drafted = outcomes[0].best, outcomes[options.drafts]
            tokens += Counter(all=plain.decoded, drafted=drafted.drafted, kept=drafted.drafts_kept)
            if plain.tokens != drafted.best.tokens:
                different += 1
                print(f"{query!r}: {plain.text!r} became {drafted.best.text!r}")
        without, with_ = (statistics.median(times[drafts]) for drafts in (0, options.drafts))
        print(
            f"{task}: {len(times[0])} queries, median {without:.2f} ms, with drafts {with_:.2f}"
            f" ({without / with_:.2f} times as fast); of {tokens['all']} tokens {tokens['kept']}"
            f" were drafted, of {tokens['drafted']}",
            flush=True,
        )
    print(f"different: {different}")
    raise SystemExit(bool(different))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--model", type=Path, default=recipe.load("tiny-t5").model_path())
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--drafts", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--most", type=int, help="queries")
    return parser


if __name__ == "__main__":
    main()
