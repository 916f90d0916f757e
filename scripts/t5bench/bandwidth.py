"""The memory-bandwidth limit: what a step must read, over how fast this machine reads.

A step reads the decoder's weights but the cross-attention's keys and values, the head, and the
caches. How fast: the best of five of ggml's matrix-vector products over a gibibyte of F32.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from t5bench.contestant import environment
from t5bench.errors import BenchError
from t5gguf.checkpoint import Config
from t5gguf.reader import GGUFFile
from t5serve.cpus import Share, plan
from t5serve.engine.config import WorkerConfig

PROBE_BYTES = 1 << 30
TIMES = 5


def gguf_step_bytes(file: Path) -> int:
    """Weights of a GGUF file that a step reads."""
    tensors = GGUFFile.open(file).tensors
    head = "output.weight" if "output.weight" in tensors else "token_embd.weight"
    return sum(
        tensor.nbytes
        for name, tensor in tensors.items()
        if (name.startswith("dec.") and "cross_attn_k" not in name and "cross_attn_v" not in name)
        or name == head
    )


def step_bytes(config: Config, item_size: int) -> int:
    """The same of a format that has so many bytes for each weight; norms are left out."""
    attention = config.d_model * config.d_inner
    feed_forward = (3 if config.is_gated else 2) * config.d_model * config.d_ff
    layer = (4 + 2) * attention + feed_forward  # q, k, v, o; of the cross-attention q and o
    head = config.d_model * config.vocab_size
    return item_size * (config.num_decoder_layers * layer + head)


def position_bytes(config: Config, item_size: int) -> int:
    """Keys and values of one position, of the input or of the output, in all decoder layers."""
    return 2 * config.num_decoder_layers * config.d_inner * item_size


def pinned_environment(share: Share) -> dict[str, str]:
    """What OpenMP needs to know before it is loaded, as in a worker."""
    return WorkerConfig("", share.threads, list(share.cpus), 1).environment()


def measure(threads: int | None) -> float:
    """Bytes a second, in a process of its own, pinned as a worker is.

    Raises:
        BenchError: it failed.
    """
    share = plan(1, threads)[0]
    ran = subprocess.run(
        [sys.executable, "-m", "t5bench.bandwidth", str(share.threads)],
        env=environment(pinned_environment(share)),
        check=False,
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise BenchError(f"the bandwidth can't be measured: {ran.stderr[-2000:]}")
    return float(ran.stdout)


def probe(threads: int) -> float:
    """Bytes a second of this process's threads."""
    from t5serve.worker import ggml  # noqa: PLC0415 - loads OpenMP

    cpu = ggml.Cpu(threads)
    g, columns = cpu.ggml, 4096
    row = 4 * columns
    rows = PROBE_BYTES // row
    weights, work = ggml.Context(4), ggml.Context(16, graph=16)
    matrix = g.ggml_new_tensor_2d(weights.address, ggml.F32, columns, rows)
    vector = g.ggml_new_tensor_2d(weights.address, ggml.F32, columns, 1)
    buffer = g.ggml_backend_alloc_ctx_tensors_from_buft(weights.address, cpu.buffer_type)
    g.ggml_backend_buffer_clear(buffer, 0)
    graph = g.ggml_new_graph_custom(work.address, 16, False)  # noqa: FBT003 - C
    g.ggml_build_forward_expand(graph, g.ggml_mul_mat(work.address, matrix, vector))
    allocator = g.ggml_gallocr_new(cpu.buffer_type)
    g.ggml_gallocr_alloc_graph(allocator, graph)

    def run() -> float:
        started = time.perf_counter()
        g.ggml_backend_graph_compute(cpu.backend, graph)
        return time.perf_counter() - started

    best = min(run() for _ in range(TIMES))
    g.ggml_gallocr_free(allocator)
    g.ggml_backend_buffer_free(buffer)
    weights.close()
    work.close()
    return rows * row / best


def main() -> None:
    """Prints bytes a second."""
    threads = int(sys.argv[1])
    cpus = plan(1, threads)[0].cpus
    if cpus:
        os.sched_setaffinity(0, cpus)  # before OpenMP starts threads that inherit it
    print(probe(threads))


if __name__ == "__main__":
    main()
