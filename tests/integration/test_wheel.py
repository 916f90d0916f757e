"""What the package has besides Python."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


def test_the_kernels_are_compiled_into_it(tmp_path: Path) -> None:
    """And its name says for which platform."""
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    assert wheel.endswith(".whl")
    assert not wheel.endswith("-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("t5engine/kernels/kernels.so")[:4] == b"\x7fELF"
