"""The process of one engine: `python -m t5bench.child SPEC`, which answers JSON lines.

A separate process has its own threads and memory, and its environment from the start. A line on
standard input is a request; a line on standard output is the answer, with the time from token ids
to token ids, or from documents to logits. This process takes the time, so that the pipe does not
count.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module

from t5bench.engine import Engine

ENGINES = {
    "t5engine": "t5bench.engines.t5engine:T5Engine",
    "pytorch": "t5bench.engines.pytorch:PyTorch",
    "ctranslate2": "t5bench.engines.ctranslate:CTranslate2",
    "openvino": "t5bench.engines.open_vino:OpenVINO",
    "onnxruntime": "t5bench.engines.onnx_runtime:OnnxRuntime",
    "onnx_judge": "t5bench.engines.onnx_judge:OnnxJudge",
}


def main() -> None:
    """Loads the engine, replies that it is ready, and answers until standard input ends."""
    spec = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of libraries must not look like an answer
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
        if "documents" in request:
            logits = engine.judge(request["documents"], request["tokens"])
            reply({"total_ms": 1000 * (time.perf_counter() - started), "logits": logits})
            continue
        generated = engine.generate(request["ids"], request["tokens"], fixed=request["fixed"])
        total_ms = 1000 * (time.perf_counter() - started)
        reply({"total_ms": total_ms, **generated._asdict()})


if __name__ == "__main__":
    main()
