"""What is read of the machine, from files like Linux's."""

from __future__ import annotations

from pathlib import Path

from t5serve.commands import machine


def file(directory: Path, text: str) -> Path:
    path = directory / "file"
    path.write_text(text, encoding="utf-8")
    return path


def test_x86(tmp_path: Path) -> None:
    """Names and flags of the first processor."""
    path = file(
        tmp_path,
        "processor\t: 0\nmodel name\t: A Processor\nflags\t\t: fpu avx avx2 f16c fma avx512f\n",
    )
    assert machine.processor(path) == "A Processor"
    assert machine.features(path) == ["AVX", "AVX2", "FMA", "F16C", "AVX512"]


def test_arm(tmp_path: Path) -> None:
    """Its file has other names."""
    path = file(tmp_path, "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU part\t: 0xd0c\n")
    assert machine.features(path) == ["NEON", "DOTPROD", "MATMUL_INT8"]


def test_memory(tmp_path: Path) -> None:
    """Kilobytes there, bytes here."""
    path = file(tmp_path, "MemTotal:  24000 kB\nMemAvailable:   12 kB\n")
    assert machine.available_bytes(path) == 12 * 1024


def test_what_is_not_told_is_none(tmp_path: Path) -> None:
    """As on macOS, or in a container without these files."""
    missing = tmp_path / "missing"
    assert machine.processor(missing) is None
    assert machine.features(missing) == []
    assert machine.available_bytes(missing) is None
    assert machine.governor(missing) is None
