"""The kernels in C alone, against the scalar ones: with sanitizers, and for other processors."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from t5engine.kernels.loader import LIBRARY, Kernels

SOURCES = LIBRARY.parent
HARNESS = Path(__file__).with_name("kernels_harness.c")
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
CROSS_COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"


def compile_harness(compiler: str, target: Path, *options: str) -> Path:
    sources = [*sorted(map(str, SOURCES.glob("*.c"))), str(HARNESS)]
    command = [compiler, *STRICT, *options, f"-I{SOURCES}", *sources, "-lm", "-o", str(target)]
    subprocess.run(command, check=True)
    return target


def run_harness(*command: str) -> set[str]:
    """Returns the instruction sets that passed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {line.removesuffix(": equal") for line in done.stdout.splitlines()}


def test_no_kernel_reads_or_writes_outside_or_overflows(tmp_path: Path) -> None:
    """Under ASan and UBSan. AVX-VNNI's kernel runs with AVX-512's form of its instruction."""
    compiler = os.environ.get("CC", "cc")
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g"]
    harness = compile_harness(compiler, tmp_path / "harness", "-DT5_EVEX", *sanitizers)
    found = {name for name in ("avx2", "avx512", "neon") if Kernels.find(name)}
    if "avx512" in found:
        found.add("avxvnni")
    assert run_harness(str(harness)) == found


@pytest.mark.skipif(
    not (shutil.which(CROSS_COMPILER) and shutil.which(EMULATOR)),
    reason=f"needs {CROSS_COMPILER} and {EMULATOR}",
)
def test_arm_under_emulation(tmp_path: Path) -> None:
    """NEON's results are right; how fast they come is not known."""
    harness = compile_harness(CROSS_COMPILER, tmp_path / "harness", "-static", "-O2")
    assert run_harness(EMULATOR, str(harness)) == {"neon"}
