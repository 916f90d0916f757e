"""The configuration of a worker process, passed to it at its start."""

from __future__ import annotations

from typing import Literal, Self

import msgspec

from t5engine.cpus import Share
from t5engine.decoding.parameters import MAX_TOKENS
from t5engine.messages import Costs

KernelsName = Literal["auto", "ggml", "avx2", "avxvnni", "avx512", "neon"]


class WorkerConfig(msgspec.Struct, frozen=True):
    """Configures one worker process.

    Attributes:
        model: path of the GGUF file.
        threads: number of threads per native call.
        cpus: processors that the worker is pinned to; empty: not pinned.
        max_input_tokens: maximum length of an encoder input.
        max_tokens: maximum length of a sequence.
        logit_scale: factor on the file's logits; None: as the file says.
        backend: auto: graph, or llama for a file that graph refuses.
        max_batch: maximum concurrent sequences; a single job may have more.
        batch_window_ms: time that a first job waits for other jobs to share its steps with.
        prompt_lookup_num_tokens: number of draft tokens for a single sequence; 0: none.
        ggml_backends: directory of ggml's CPU backends; None: as libllama finds them.
        kernels: auto: the project's own kernels where the processor supports them; or those of one
            instruction set; or ggml's.
        costs: what an earlier worker measured; empty: the worker measures before it is ready.
        separators: texts between the queries of an answer, which the vocabulary must have as pieces
            of their own; None: those that the file names.
        judged_tokens: pieces that reranking weighs, which the vocabulary must have; None: those
            that the file names.
        can_split: whether the worker takes a single thread if the model's steps are short. Workers
            like it then take the place of its other threads; see `split`.
    """

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
    kernels: KernelsName = "auto"
    costs: Costs = Costs()
    separators: list[str] | None = None
    judged_tokens: list[str] | None = None
    can_split: bool = False

    @property
    def share(self) -> Share:
        """The worker's share of the machine."""
        return Share(self.threads, tuple(self.cpus), self.can_split)

    def split(self) -> list[Self]:
        """Returns a configuration of one thread for each of the threads."""
        is_pinned = len(self.cpus) == self.threads
        cpus = [[cpu] for cpu in self.cpus] if is_pinned else [self.cpus] * self.threads
        return [
            msgspec.structs.replace(self, threads=1, cpus=part, can_split=False) for part in cpus
        ]

    def environment(self) -> dict[str, str]:
        """Returns what libraries read once, when they are loaded."""
        # Each step allocates the same few hundred kilobytes. By default glibc gives them back to
        # the system after each, whose page faults take longer than the step's arithmetic.
        variables = {"MALLOC_TRIM_THRESHOLD_": "67108864", "MALLOC_MMAP_THRESHOLD_": "16777216"}
        # The worker computes no matrix products with numpy: OpenBLAS's threads would only compete.
        variables |= {"OMP_NUM_THREADS": str(self.threads), "OPENBLAS_NUM_THREADS": "1"}
        if len(self.cpus) == self.threads:
            variables["OMP_PROC_BIND"] = "true"
            variables["OMP_PLACES"] = ",".join(f"{{{cpu}}}" for cpu in self.cpus)
        return variables
