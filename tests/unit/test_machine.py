"""Facts about the machine, read from files in Linux's format."""

from __future__ import annotations

from pathlib import Path

from t5serve.commands import machine


def file(directory: Path, text: str) -> Path:
    path = directory / "file"
    path.write_text(text, encoding="utf-8")
    return path


def test_x86(tmp_path: Path) -> None:
    """The name and flags of the first processor are read."""
    path = file(
        tmp_path,
        "processor\t: 0\nmodel name\t: A Processor\nflags\t\t: fpu avx avx2 f16c fma avx512f\n",
    )
    assert machine.processor(path) == "A Processor"
    assert machine.features(path) == ["AVX", "AVX2", "FMA", "F16C", "AVX512"]


def test_arm(tmp_path: Path) -> None:
    """The files of ARM processors use other names."""
    path = file(tmp_path, "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU part\t: 0xd0c\n")
    assert machine.features(path) == ["NEON", "DOTPROD", "MATMUL_INT8"]


def test_what_is_not_told_is_none(tmp_path: Path) -> None:
    """Facts are None without these files, as on macOS and in some containers."""
    missing = tmp_path / "missing"
    assert machine.processor(missing) is None
    assert machine.features(missing) == []
    assert machine.governor(missing) is None
