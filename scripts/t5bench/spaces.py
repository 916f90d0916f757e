"""The peers, each with the settings among which its fastest are looked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from t5bench.bandwidth import step_bytes
from t5bench.candidate import ANY_ISA, Candidate, SearchSpace
from t5bench.files import Files
from t5bench.runner import EngineRunner

F32_BYTES, BF16_BYTES, INT8_BYTES, INT4_BYTES = 4, 2, 1, 0.5


def pytorch_candidates(files: Files, threads: int, python: str) -> list[Candidate]:
    """Returns the candidates of transformers' `generate`, in fp32 and bf16."""
    return [
        Candidate(
            EngineRunner(
                f"PyTorch {label}",
                "pytorch",
                {"path": str(files.checkpoint), "threads": threads, "dtype": dtype},
                _openmp_threads(threads),
                python=python,
            ),
            step_bytes(files.config, size),
            size,
            group="pytorch",
        )
        for label, dtype, size in (("fp32", "float32", F32_BYTES), ("bf16", "bfloat16", BF16_BYTES))
    ]


def ctranslate2_spaces(files: Files, threads: int, python: str) -> list[SearchSpace]:
    """Returns int8 with each processor switch that CTranslate2 documents."""
    isa = "CT2_FORCE_CPU_ISA"
    avx512, avx2 = {isa: "AVX512"}, {isa: "AVX2"}
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
    path = files.make_ctranslate2(python)
    arguments = {"path": str(path), "threads": threads, "compute_type": "int8"}
    candidates = [
        Candidate(
            EngineRunner(
                label,
                "ctranslate2",
                arguments,
                _openmp_threads(threads) | switches,
                python=python,
            ),
            step_bytes(files.config, INT8_BYTES),
            F32_BYTES,
            instruction_sets={"AVX512": "AVX-512", "AVX2": "AVX2"}.get(
                switches.get(isa, ""), ANY_ISA
            ),
            group="ctranslate2",
        )
        for label, switches in settings.items()
    ]
    return [SearchSpace("CTranslate2 int8", candidates)]


def onnxruntime_spaces(files: Files, threads: int, python: str) -> list[SearchSpace]:
    """Returns fp32, and dynamically quantised int8.

    The settings are one decoder or two, I/O binding, and for int8 scales by tensor or channel.
    """
    layouts: dict[str, dict[str, Any]] = {
        "merged decoder": {"merged": True},
        "merged decoder, I/O binding": {"merged": True, "io_binding": True},
        "two decoders": {"merged": False},
        "two decoders, I/O binding": {"merged": False, "io_binding": True},
    }
    fp32 = {"path": str(files.make_onnx(python))}
    by_tensor = {"path": str(files.make_onnx_int8(python)), "suffix": "_quantized"}
    by_channel = {
        "path": str(files.make_onnx_int8(python, per_channel=True)),
        "suffix": "_quantized",
    }
    quantised = {label: by_tensor | layout for label, layout in layouts.items()}
    quantised |= {
        f"{label}, scales by channel": by_channel | layouts[label]
        for label in ("merged decoder", "two decoders")
    }

    def candidate(label: str, arguments: dict[str, Any], size: int) -> Candidate:
        runner = EngineRunner(
            label,
            "onnxruntime",
            {"threads": threads, **arguments},
            _openmp_threads(threads),
            python=python,
        )
        return Candidate(runner, step_bytes(files.config, size), F32_BYTES, group="onnxruntime")

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


def openvino_spaces(files: Files, threads: int, python: str) -> list[SearchSpace]:
    """Returns fp32, and compressed weights in int8 and int4.

    The settings are properties of OpenVINO's CPU plugin, and the layout of the weights: a zero
    point or none, and for int4 also the head, which is int8 by default.
    """
    # The precision is said in fp32: the plugin's own choice depends on the processor.
    fp32, bf16 = {"INFERENCE_PRECISION_HINT": "f32"}, {"INFERENCE_PRECISION_HINT": "bf16"}
    unpinned = {"ENABLE_CPU_PINNING": "NO"}
    options: dict[str, dict[str, str]] = {
        "its defaults": {},
        "f32": fp32,
        "bf16": bf16,
        "not pinned": unpinned,
        "throughput hint, one stream": {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": "1"},
        "activations not quantised": {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
        "activations quantised in groups of 128": {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "128"},
    }
    weights = {
        "fp32": ("fp32", F32_BYTES, F32_BYTES),
        "symmetric": ("int8-sym", INT8_BYTES, INT8_BYTES),
        "asymmetric": ("int8-asym", INT8_BYTES, INT8_BYTES),
        "head in int8": ("int4-sym", INT4_BYTES, INT8_BYTES),
        "head in int4": ("int4-sym-all", INT4_BYTES, INT4_BYTES),
    }

    def candidate(layout: str, label: str, properties: Mapping[str, str]) -> Candidate:
        form, size, head_size = weights[layout]
        path = files.make_openvino(python, form)
        arguments = {"path": str(path), "threads": threads, "properties": dict(properties)}
        variables = _openmp_threads(threads)
        runner = EngineRunner(label, "openvino", arguments, variables, python=python)
        weight_bytes = step_bytes(files.config, size, head_size)
        return Candidate(runner, weight_bytes, F32_BYTES, group="openvino")

    def compressed(first: str, second: str) -> list[Candidate]:
        return [
            *(candidate(first, f"{first}, {label}", values) for label, values in options.items()),
            candidate(second, f"{second}, its defaults", {}),
        ]

    return [
        SearchSpace(
            "OpenVINO fp32",
            [
                candidate("fp32", "pinned", fp32),
                candidate("fp32", "not pinned", fp32 | unpinned),
            ],
        ),
        SearchSpace("OpenVINO int8", compressed("symmetric", "asymmetric")),
        SearchSpace("OpenVINO int4", compressed("head in int4", "head in int8")),
    ]


SPACES: Mapping[str, Callable[[Files, int, str], list[SearchSpace]]] = {
    "ctranslate2": ctranslate2_spaces,
    "onnxruntime": onnxruntime_spaces,
    "openvino": openvino_spaces,
}


def _openmp_threads(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads)}
