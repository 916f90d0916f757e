"""The candidates of a comparison: this engine with each type of file, and its peers.

A peer with settings to choose from is a search space: its fastest settings are compared. All
candidates have the same number of threads. This engine's worker is pinned to its processors, as
in the service; for the peers, pinning is one of the settings. This engine can be limited to an
instruction set; its peers may use what the processor has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from t5bench import environment, spaces
from t5bench.bandwidth import gguf_step_bytes
from t5bench.candidate import ANY_ISA, Candidate, SearchSpace
from t5bench.errors import BenchError
from t5bench.files import Files
from t5bench.interpreters import Interpreter
from t5bench.runner import EngineRunner, Runner
from t5bench.service import HttpRunner
from t5engine.config import KernelsName
from t5engine.cpus import Share

GROUPS = ("t5serve", "openvino", "ctranslate2", "onnxruntime", "pytorch")
F32_BYTES = 4
ISA_LABELS: dict[KernelsName, str] = {
    "auto": ANY_ISA,
    "ggml": f"{ANY_ISA}, ggml's kernels",
    "avx2": "AVX2",
    "avxvnni": "AVX2 and AVX-VNNI",
    "avx512": "AVX-512 and VNNI",
    "neon": "NEON",
}


@dataclass(frozen=True)
class Choice:
    """Which candidates take part.

    Attributes:
        groups: Groups of candidates, of `GROUPS`.
        file_types: Types of GGUF files.
        kernels: Our kernels' instruction sets, each a candidate per type of file.
        interpreters: The interpreter of each group.
        left_out: Names of candidates and of search spaces that do not take part.
    """

    groups: Sequence[str]
    file_types: Sequence[str]
    kernels: Sequence[KernelsName]
    interpreters: Mapping[str, Interpreter]
    left_out: Sequence[str] = ()


def list_candidates(
    choice: Choice, files: Files, share: Share, prefix: str
) -> tuple[list[Candidate], list[SearchSpace]]:
    """Makes the files of all groups; returns the candidates, and the spaces to search.

    Raises:
        BenchError: A name that is left out does not exist, or nothing is left.
    """
    candidates: list[Candidate] = []
    searched: list[SearchSpace] = []
    for group in GROUPS:
        if group not in choice.groups:
            continue
        python = choice.interpreters[group].path
        if group == "t5serve":
            files.make_gguf(choice.file_types, prefix)
            candidates += t5serve_candidates(files, choice, share)
        elif group == "pytorch":
            candidates += spaces.pytorch_candidates(files, share.threads, python)
        else:
            searched += spaces.SPACES[group](files, share.threads, python)
    names = {candidate.name for candidate in candidates} | {space.name for space in searched}
    if unknown := sorted(set(choice.left_out) - names):
        raise BenchError(
            f"--leave-out: no candidate is named {', '.join(unknown)}; "
            f"there are {', '.join(sorted(names))}"
        )
    if names == set(choice.left_out):
        raise BenchError("--leave-out: no candidate is left")
    return (
        [candidate for candidate in candidates if candidate.name not in choice.left_out],
        [space for space in searched if space.name not in choice.left_out],
    )


def make_files(choice: Choice, files: Files, prefix: str) -> None:
    """Makes the files of all groups."""
    list_candidates(choice, files, Share(1, ()), prefix)


def t5serve_candidates(files: Files, choice: Choice, share: Share) -> list[Candidate]:
    """Returns this engine with each instruction set and type of file, in process and over HTTP.

    /v1/reformulate has no parameter for a fixed length. It is compared with the last file type,
    if the weights are random: then answers never end with `</s>`.
    """
    candidates = []
    for kernels, file_type in product(choice.kernels, choice.file_types):
        path = files.gguf_path(file_type)
        name = f"t5serve {file_type}" + ("" if kernels == "auto" else f", {kernels}")
        arguments = {"path": str(path), "threads": share.threads, "kernels": kernels}
        variables = environment.openmp_variables(share)
        runners: list[Runner] = [
            EngineRunner(name, "t5engine", arguments, variables, share.cpus),
            HttpRunner(f"{name}, HTTP", path, share.threads, kernels=kernels),
        ]
        if files.is_random and file_type == choice.file_types[-1]:
            reformulate = f"{name}, HTTP, reformulate"
            runners.append(HttpRunner(reformulate, path, share.threads, "reformulate", kernels))
        candidates += [
            Candidate(
                runner,
                gguf_step_bytes(path),
                F32_BYTES,
                file_type,
                name if isinstance(runner, HttpRunner) else None,
                ISA_LABELS[kernels],
            )
            for runner in runners
        ]
    return candidates
