"""Fixtures that several tests of the converter share."""

from pathlib import Path

import pytest

from support import tiny
from support.conversions import PROVENANCE, QUERIES, Conversion
from t5engine.reader import GGUFFile
from t5gguf.convert import Converter


@pytest.fixture(scope="session")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Conversion]:
    """Every flavour converted and verified in the engine."""
    root = tmp_path_factory.mktemp("conversions")
    converted = {}
    for flavour in tiny.FLAVOURS:
        directory = tiny.build(flavour, root / flavour)
        out = root / f"{flavour}.gguf"
        converter = Converter(directory, PROVENANCE, QUERIES)
        written = converter.convert(out, "F32", progress=False)
        converted[flavour] = Conversion(directory, written, GGUFFile.open(out))
    return converted


@pytest.fixture
def tied(conversions: dict[str, Conversion]) -> Conversion:
    return conversions["tied_relu"]


@pytest.fixture(scope="session")
def spiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "spiece.model"
    tiny.vocabulary(path)
    return path


@pytest.fixture
def directory(spiece: Path, tmp_path: Path) -> Path:
    """A new directory with the tiny vocabulary."""
    (tmp_path / "spiece.model").write_bytes(spiece.read_bytes())
    return tmp_path
