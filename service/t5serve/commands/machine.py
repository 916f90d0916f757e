"""What `doctor` reads of the machine; each fact is None where the system does not tell it."""

from __future__ import annotations

import os
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
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
"""Linux's names and ggml's, of those that quantised products use."""


def processor(cpuinfo: Path = CPUINFO) -> str | None:
    """Its name."""
    return _first(r"(?im)^(?:model name|hardware|cpu part)\s*:\s*(.+)$", cpuinfo)


def features(cpuinfo: Path = CPUINFO) -> list[str]:
    """Those that ggml has kernels for, by its names."""
    flags = (_first(r"(?im)^(?:flags|features)\s*:\s*(.+)$", cpuinfo) or "").split()
    return [name for flag, name in FEATURES.items() if flag in flags]


def available_bytes(meminfo: Path = MEMINFO) -> int | None:
    """Memory that can be had without swapping."""
    kilobytes = _first(r"(?m)^MemAvailable:\s*(\d+)", meminfo)
    return None if kilobytes is None else 1024 * int(kilobytes)


def governor(path: Path = GOVERNOR) -> str | None:
    """How the clock is set."""
    return _first(r"(\w+)", path)


def load() -> float:
    """Processes that ran or wanted to, on average over the last minute."""
    return os.getloadavg()[0]


def _first(pattern: str, path: Path) -> str | None:
    try:
        found = re.search(pattern, path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return None if found is None else found[1].strip()
