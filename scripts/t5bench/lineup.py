"""Who takes part: this engine with each type of file, and its peers, each at its best.

A peer with settings to choose from sends the best one of a tournament. All have the same number
of threads. This engine's worker is pinned to its processors, as it is when it serves; for the
peers that is one of the settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from t5bench import environment
from t5bench.bandwidth import gguf_step_bytes, step_bytes
from t5bench.contestant import Contestant, InProcess
from t5bench.files import Files
from t5bench.service import OverHttp
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
class Entry:
    """One row of the table.

    Attributes:
        contestant: who.
        weight_bytes: of weights that it reads for a token.
        cache_item: bytes of each value that it keeps of keys and values.
        kind: the type of its GGUF file, if it has one.
        inside: over HTTP, the name of the same engine in process.
    """

    contestant: Contestant
    weight_bytes: int
    cache_item: int
    kind: str | None = None
    inside: str | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.contestant.name


@dataclass(frozen=True)
class Tournament:
    """Settings of one peer, of which the fastest takes part."""

    name: str
    entries: Sequence[Entry]


def missing(group: str) -> list[str]:
    """Packages that a group needs and that are not installed."""
    return [package for package in PACKAGES[group] if find_spec(package) is None]


def of(
    groups: Sequence[str], kinds: Sequence[str], files: Files, share: Share, prefix: str
) -> tuple[list[Entry], list[Tournament]]:
    """Those that take part anyway, and those that are to be found; their files are made."""
    entries: list[Entry] = []
    tournaments: list[Tournament] = []
    if "t5serve" in groups:
        files.make_gguf(kinds, prefix)
        entries += own(files, kinds, share)
    if "pytorch" in groups:
        entries += pytorch(files, share.threads)
    if "ctranslate2" in groups:
        tournaments.append(ctranslate2(files, share.threads))
    if "onnxruntime" in groups:
        tournaments += onnxruntime(files, share.threads)
    return entries, tournaments


def prepare(groups: Sequence[str], kinds: Sequence[str], files: Files, prefix: str) -> None:
    """Makes the files of all groups."""
    of(groups, kinds, files, Share(1, ()), prefix)


def own(files: Files, kinds: Sequence[str], share: Share) -> list[Entry]:
    """This engine with each type of file, in process and over HTTP.

    /v1/reformulate can't be told how long an answer is to be: it is asked where answers never
    end by themselves, of the last type.
    """
    entries = []
    for kind in kinds:
        path, name = files.gguf(kind), f"t5serve {kind}"
        read = gguf_step_bytes(path)
        inside = InProcess(
            name,
            "own",
            {"path": str(path), "threads": share.threads},
            environment.pinned(share),
            share.cpus,
        )
        over_http = OverHttp(f"{name}, HTTP", path, share.threads)
        entries += [
            Entry(inside, read, F32_BYTES, kind),
            Entry(over_http, read, F32_BYTES, kind, name),
        ]
        if files.endless and kind == kinds[-1]:
            native = OverHttp(f"{name}, HTTP, reformulate", path, share.threads, "reformulate")
            entries.append(Entry(native, read, F32_BYTES, kind, name))
    return entries


def pytorch(files: Files, threads: int) -> list[Entry]:
    """Transformers' own generation, in two types."""
    return [
        Entry(
            InProcess(
                f"PyTorch {label}",
                "pytorch",
                {"path": str(files.checkpoint), "threads": threads, "dtype": dtype},
                _openmp(threads),
            ),
            step_bytes(files.config, size),
            size,
        )
        for label, dtype, size in (("fp32", "float32", F32_BYTES), ("bf16", "bfloat16", BF16_BYTES))
    ]


def ctranslate2(files: Files, threads: int) -> Tournament:
    """int8 with each switch that its documentation has for the processor."""
    wide, plain = {"CT2_FORCE_CPU_ISA": "AVX512"}, {"CT2_FORCE_CPU_ISA": "AVX2"}
    packed, unpacked = ({"CT2_USE_EXPERIMENTAL_PACKED_GEMM": value} for value in ("1", "0"))
    pinned = {"KMP_AFFINITY": "granularity=fine,compact,1,0"}
    settings: dict[str, dict[str, str]] = {
        "its defaults": {},
        "AVX2, packed GEMM": plain | packed,
        "AVX2, GEMM not packed": plain | unpacked,
        "AVX-512, packed GEMM": wide | packed,
        "AVX-512, GEMM not packed": wide | unpacked,
        "AVX-512, packed GEMM, pinned": wide | packed | pinned,
        "AVX2, without MKL": plain | {"CT2_USE_MKL": "0"},
        "AVX-512, without MKL": wide | {"CT2_USE_MKL": "0"},
    }
    arguments = {"path": str(files.ctranslate2()), "threads": threads, "compute_type": "int8"}
    read = step_bytes(files.config, INT8_BYTES)
    return Tournament(
        "CTranslate2 int8",
        [
            Entry(
                InProcess(label, "ctranslate2", arguments, _openmp(threads) | switches),
                read,
                F32_BYTES,
            )
            for label, switches in settings.items()
        ],
    )


def onnxruntime(files: Files, threads: int) -> list[Tournament]:
    """fp32, and int8 quantised dynamically; one decoder or two, and where outputs are kept."""
    layouts: dict[str, dict[str, Any]] = {
        "merged decoder": {"merged": True},
        "merged decoder, I/O binding": {"merged": True, "io_binding": True},
        "two decoders": {"merged": False},
        "two decoders, I/O binding": {"merged": False, "io_binding": True},
    }
    plain = {"path": str(files.onnx())}
    tensor = {"path": str(files.onnx_int8()), "suffix": "_quantized"}
    channel = {"path": str(files.onnx_int8(per_channel=True)), "suffix": "_quantized"}
    quantised = {label: tensor | layout for label, layout in layouts.items()}
    quantised |= {
        f"{label}, scales by channel": channel | layouts[label]
        for label in ("merged decoder", "two decoders")
    }

    def entry(label: str, arguments: dict[str, Any], size: int) -> Entry:
        arguments = {"threads": threads, **arguments}
        read = step_bytes(files.config, size)
        return Entry(InProcess(label, "onnxruntime", arguments, _openmp(threads)), read, F32_BYTES)

    return [
        Tournament(
            "ONNX Runtime fp32",
            [entry(label, plain | layout, F32_BYTES) for label, layout in layouts.items()],
        ),
        Tournament(
            "ONNX Runtime int8",
            [entry(label, arguments, INT8_BYTES) for label, arguments in quantised.items()],
        ),
    ]


def _openmp(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads)}
