"""One contestant's process: `python -m t5bench.child SPEC`, asked in JSON lines.

A process of its own gives it its threads and its memory, and its environment from the start. Each
line on standard input asks for one request; each on standard output answers, with the time that
the request took from token ids to token ids, measured here, so that no pipe counts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module

from t5bench.engine import Engine

ENGINES = {
    "own": "t5bench.engines.own:Own",
    "pytorch": "t5bench.engines.pytorch:PyTorch",
    "ctranslate2": "t5bench.engines.ctranslate:CTranslate2",
    "onnxruntime": "t5bench.engines.onnx_runtime:OnnxRuntime",
}


def main() -> None:
    """Loads, says so, answers until standard input ends."""
    spec = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not pass for an answer
    if spec["cpus"]:
        os.sched_setaffinity(0, spec["cpus"])  # before OpenMP starts threads that inherit it

    def reply(document: object) -> None:
        replies.write(json.dumps(document) + "\n")
        replies.flush()

    module, _, name = ENGINES[spec["engine"]].partition(":")
    engine: Engine = getattr(import_module(module), name)(**spec["arguments"])
    reply({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        started = time.perf_counter()
        generated = engine.generate(request["ids"], request["tokens"], fixed=request["fixed"])
        taken = 1000 * (time.perf_counter() - started)
        reply({"total_ms": taken, **generated._asdict()})


if __name__ == "__main__":
    main()
