"""Reads facts about the machine; a fact is None if the system does not provide it."""

from __future__ import annotations

import os
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")

FEATURES = {
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "bmi2": "BMI2",
    "avx_vnni": "AVX_VNNI",
    "avx512f": "AVX512",
    "avx512vbmi": "AVX512_VBMI",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX_INT8",
    "asimd": "NEON",
    "asimddp": "DOTPROD",
    "i8mm": "MATMUL_INT8",
    "sve": "SVE",
}
"""The processor features that quantised matrix products use: Linux's name to ggml's name."""


def processor(cpuinfo: Path = CPUINFO) -> str | None:
    """Returns the name of the processor."""
    return _search(r"(?im)^(?:model name|hardware|cpu part)\s*:\s*(.+)$", cpuinfo)


def features(cpuinfo: Path = CPUINFO) -> list[str]:
    """Returns the processor's features for which ggml has kernels, by ggml's names."""
    flags = (_search(r"(?im)^(?:flags|features)\s*:\s*(.+)$", cpuinfo) or "").split()
    return [name for flag, name in FEATURES.items() if flag in flags]


def governor(path: Path = GOVERNOR) -> str | None:
    """Returns the name of the CPU frequency governor."""
    return _search(r"(\w+)", path)


def load() -> float:
    """Returns the load average of the last minute."""
    return os.getloadavg()[0]


def _search(pattern: str, path: Path) -> str | None:
    try:
        match = re.search(pattern, path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return None if match is None else match[1].strip()
