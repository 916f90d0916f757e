"""Measures the memory bandwidth of this machine: `python -m t5bench.probe THREADS CPU ..`.

The bandwidth is the best of five of ggml's matrix-vector products over a gibibyte of F32. The
module imports little before it is pinned: `gguf` brings an OpenMP, which would bind this thread to
one processor.
"""

from __future__ import annotations

import os
import sys
import time

BYTES = 1 << 30
RUNS = 5


def measure_bandwidth(threads: int) -> float:
    """Returns the bytes per second that this process reads with `threads` threads."""
    from t5engine.graph import ggml  # noqa: PLC0415 - loads OpenMP

    cpu = ggml.Cpu(threads)
    g, columns = cpu.ggml, 4096
    row = 4 * columns
    rows = BYTES // row
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

    best = min(run() for _ in range(RUNS))
    g.ggml_gallocr_free(allocator)
    g.ggml_backend_buffer_free(buffer)
    weights.close()
    work.close()
    return rows * row / best


def main() -> None:
    """Prints bytes per second."""
    threads, *cpus = map(int, sys.argv[1:])
    if cpus:
        os.sched_setaffinity(0, cpus)  # before OpenMP starts threads that inherit it
    print(measure_bandwidth(threads))


if __name__ == "__main__":
    main()
