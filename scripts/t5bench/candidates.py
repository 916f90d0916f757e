"""The candidates of a comparison: this engine with each type of file, and its peers.

A peer with settings to choose from is a search space: its fastest settings are compared. All
candidates have the same number of threads. This engine's worker is pinned to its processors, as
in the service; for the peers, pinning is one of the settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from t5bench import environment
from t5bench.bandwidth import gguf_step_bytes, step_bytes
from t5bench.files import Files
from t5bench.runner import EngineRunner, Runner
from t5bench.service import HttpRunner
from t5engine.cpus import Share

GROUPS = ("t5serve", "ctranslate2", "onnxruntime", "pytorch")
PACKAGES = {
    "t5serve": (),
    "ctranslate2": ("ctranslate2", "torch", "transformers"),
    "onnxruntime": ("onnxruntime", "optimum", "torch", "transformers"),
    "pytorch": ("torch", "transformers"),
}
F32_BYTES, BF16_BYTES, INT8_BYTES = 4, 2, 1


@dataclass(frozen=True)
class Candidate:
    """One row of the table.

    Attributes:
        runner: Starts the candidate.
        weight_bytes: Bytes of weights that the candidate reads per token.
        cache_item_bytes: Bytes of one value in its caches of keys and values.
        file_type: The type of its GGUF file, if it has a GGUF file.
        in_process_name: For a candidate over HTTP, the name of the same engine in process.
    """

    runner: Runner
    weight_bytes: int
    cache_item_bytes: int
    file_type: str | None = None
    in_process_name: str | None = None

    @property
    def name(self) -> str:
        """The name in tables."""
        return self.runner.name


@dataclass(frozen=True)
class SearchSpace:
    """The settings of one peer, of which the fastest are compared."""

    name: str
    candidates: Sequence[Candidate]


def missing_packages(group: str) -> list[str]:
    """Returns the packages that a group needs and that are not installed."""
    return [package for package in PACKAGES[group] if find_spec(package) is None]


def list_candidates(
    groups: Sequence[str], file_types: Sequence[str], files: Files, share: Share, prefix: str
) -> tuple[list[Candidate], list[SearchSpace]]:
    """Makes the files of all groups; returns the candidates, and the spaces to search."""
    candidates: list[Candidate] = []
    spaces: list[SearchSpace] = []
    if "t5serve" in groups:
        files.make_gguf(file_types, prefix)
        candidates += t5serve_candidates(files, file_types, share)
    if "pytorch" in groups:
        candidates += pytorch_candidates(files, share.threads)
    if "ctranslate2" in groups:
        spaces.append(ctranslate2_space(files, share.threads))
    if "onnxruntime" in groups:
        spaces += onnxruntime_spaces(files, share.threads)
    return candidates, spaces


def make_files(groups: Sequence[str], file_types: Sequence[str], files: Files, prefix: str) -> None:
    """Makes the files of all groups."""
    list_candidates(groups, file_types, files, Share(1, ()), prefix)


def t5serve_candidates(files: Files, file_types: Sequence[str], share: Share) -> list[Candidate]:
    """Returns this engine with each type of file, in process and over HTTP.

    /v1/reformulate has no parameter for a fixed length. It is compared with the last file type,
    if the weights are random: then answers never end with `</s>`.
    """
    candidates = []
    for file_type in file_types:
        path, name = files.gguf_path(file_type), f"t5serve {file_type}"
        weight_bytes = gguf_step_bytes(path)
        in_process = EngineRunner(
            name,
            "t5engine",
            {"path": str(path), "threads": share.threads},
            environment.openmp_variables(share),
            share.cpus,
        )
        http = HttpRunner(f"{name}, HTTP", path, share.threads)
        candidates += [
            Candidate(in_process, weight_bytes, F32_BYTES, file_type),
            Candidate(http, weight_bytes, F32_BYTES, file_type, name),
        ]
        if files.is_random and file_type == file_types[-1]:
            http = HttpRunner(f"{name}, HTTP, reformulate", path, share.threads, "reformulate")
            candidates.append(Candidate(http, weight_bytes, F32_BYTES, file_type, name))
    return candidates


def pytorch_candidates(files: Files, threads: int) -> list[Candidate]:
    """Returns the candidates of transformers' `generate`, in fp32 and bf16."""
    return [
        Candidate(
            EngineRunner(
                f"PyTorch {label}",
                "pytorch",
                {"path": str(files.checkpoint), "threads": threads, "dtype": dtype},
                _openmp_threads(threads),
            ),
            step_bytes(files.config, size),
            size,
        )
        for label, dtype, size in (("fp32", "float32", F32_BYTES), ("bf16", "bfloat16", BF16_BYTES))
    ]


def ctranslate2_space(files: Files, threads: int) -> SearchSpace:
    """Returns int8 with each processor switch that CTranslate2 documents."""
    avx512, avx2 = {"CT2_FORCE_CPU_ISA": "AVX512"}, {"CT2_FORCE_CPU_ISA": "AVX2"}
    packed, unpacked = ({"CT2_USE_EXPERIMENTAL_PACKED_GEMM": value} for value in ("1", "0"))
    pinned = {"KMP_AFFINITY": "granularity=fine,compact,1,0"}
    settings: dict[str, dict[str, str]] = {
        "its defaults": {},
        "AVX2, packed GEMM": avx2 | packed,
        "AVX2, GEMM not packed": avx2 | unpacked,
        "AVX-512, packed GEMM": avx512 | packed,
        "AVX-512, GEMM not packed": avx512 | unpacked,
        "AVX-512, packed GEMM, pinned": avx512 | packed | pinned,
        "AVX2, without MKL": avx2 | {"CT2_USE_MKL": "0"},
        "AVX-512, without MKL": avx512 | {"CT2_USE_MKL": "0"},
    }
    arguments = {"path": str(files.make_ctranslate2()), "threads": threads, "compute_type": "int8"}
    weight_bytes = step_bytes(files.config, INT8_BYTES)
    return SearchSpace(
        "CTranslate2 int8",
        [
            Candidate(
                EngineRunner(label, "ctranslate2", arguments, _openmp_threads(threads) | switches),
                weight_bytes,
                F32_BYTES,
            )
            for label, switches in settings.items()
        ],
    )


def onnxruntime_spaces(files: Files, threads: int) -> list[SearchSpace]:
    """Returns fp32, and dynamically quantised int8.

    The settings are one decoder or two, I/O binding, and for int8 scales by tensor or channel.
    """
    layouts: dict[str, dict[str, Any]] = {
        "merged decoder": {"merged": True},
        "merged decoder, I/O binding": {"merged": True, "io_binding": True},
        "two decoders": {"merged": False},
        "two decoders, I/O binding": {"merged": False, "io_binding": True},
    }
    fp32 = {"path": str(files.make_onnx())}
    by_tensor = {"path": str(files.make_onnx_int8()), "suffix": "_quantized"}
    by_channel = {"path": str(files.make_onnx_int8(per_channel=True)), "suffix": "_quantized"}
    quantised = {label: by_tensor | layout for label, layout in layouts.items()}
    quantised |= {
        f"{label}, scales by channel": by_channel | layouts[label]
        for label in ("merged decoder", "two decoders")
    }

    def candidate(label: str, arguments: dict[str, Any], size: int) -> Candidate:
        arguments = {"threads": threads, **arguments}
        runner = EngineRunner(label, "onnxruntime", arguments, _openmp_threads(threads))
        return Candidate(runner, step_bytes(files.config, size), F32_BYTES)

    return [
        SearchSpace(
            "ONNX Runtime fp32",
            [candidate(label, fp32 | layout, F32_BYTES) for label, layout in layouts.items()],
        ),
        SearchSpace(
            "ONNX Runtime int8",
            [candidate(label, arguments, INT8_BYTES) for label, arguments in quantised.items()],
        ),
    ]


def _openmp_threads(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads)}
