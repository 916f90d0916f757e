"""What a worker process is told at its start."""

from __future__ import annotations

from typing import Literal

import msgspec

from t5engine.decoding.parameters import MAX_TOKENS


class WorkerConfig(msgspec.Struct, frozen=True):
    """One worker: file, limits, and the processors that it is pinned to (none: not pinned)."""

    model: str
    threads: int
    cpus: list[int]
    max_input_tokens: int
    max_tokens: int = MAX_TOKENS
    logit_scale: float | None = None
    backend: Literal["auto", "graph", "llama"] = "auto"
    max_batch: int = 16
    batch_window_ms: float = 0.0
    prompt_lookup_num_tokens: int = 0
    ggml_backends: str | None = None
    kernels: Literal["auto", "ggml"] = "auto"

    def environment(self) -> dict[str, str]:
        """OpenMP's variables, which libgomp reads once, when it is loaded."""
        # numpy's matrix products are not used here: its threads would only be in the way.
        variables = {"OMP_NUM_THREADS": str(self.threads), "OPENBLAS_NUM_THREADS": "1"}
        if len(self.cpus) == self.threads:
            variables["OMP_PROC_BIND"] = "true"
            variables["OMP_PLACES"] = ",".join(f"{{{cpu}}}" for cpu in self.cpus)
        return variables
