"""The file of models: what is read, and how faults are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from t5serve.errors import StartupError
from t5serve.models.models_file import find_declaration, read_declarations
from t5serve.settings import Settings

TWO = """
[[models]]
name = "rewriter"
model = "models/rewriter.gguf"
threads = 2
lexicon = "words.tsv"
load = "first_use"
idle_minutes = 10
defaults = { task = "search", n = 3, num_beams = 8, preserve = ["numbers"] }

[[models]]
name = "fixer"
model = "tiny-t5"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "models.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_both_forms(tmp_path: Path) -> None:
    """Paths are taken from the folder of the file; the first model is the default."""
    settings = Settings(models_file=write(tmp_path, TWO))
    rewriter, fixer = read_declarations(settings)
    assert rewriter.model == str(tmp_path / "models/rewriter.gguf")
    assert rewriter.lexicon == tmp_path / "words.tsv"
    assert (rewriter.threads, rewriter.load, rewriter.idle_minutes) == (2, "first_use", 10)
    assert rewriter.defaults.model_dump(exclude_none=True) == {
        "task": "search",
        "n": 3,
        "num_beams": 8,
        "preserve": ("numbers",),
    }
    assert (fixer.name, fixer.model, fixer.load) == ("fixer", "tiny-t5", "start")
    assert find_declaration(settings, None) == rewriter
    assert find_declaration(settings, "fixer") == fixer


def test_the_documents_example(tmp_path: Path) -> None:
    """The file in docs/operations.md is one that is read."""
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    first, second = read_declarations(Settings(models_file=write(tmp_path, example)))
    assert (first.name, first.model, first.load) == ("rewriter", "tiny-t5", "start")
    assert (second.load, second.idle_minutes, second.defaults.n) == ("first_use", 30, 4)


def test_settings_stand_for_what_a_table_leaves_out(tmp_path: Path) -> None:
    """T5SERVE_WORKERS, T5SERVE_THREADS and T5SERVE_LEXICON are the defaults of every table."""
    path, words = write(tmp_path, TWO), tmp_path / "all.tsv"
    rewriter, fixer = read_declarations(
        Settings(models_file=path, workers=3, threads=1, lexicon=words)
    )
    assert (rewriter.workers, rewriter.threads, rewriter.lexicon) == (3, 2, tmp_path / "words.tsv")
    assert (fixer.workers, fixer.threads, fixer.lexicon) == (3, 1, words)


def test_without_a_file() -> None:
    """Without a file of models the settings name the only one, which has its file's name."""
    (only,) = read_declarations(Settings(model="tiny-t5", workers=2))
    assert (only.name, only.model, only.workers) == (None, "tiny-t5", 2)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("models = 1", "models: Input should be a valid list"),
        ("", "models: Field required"),
        ("models = []", "models: List should have at least 1 item"),
        ("[[models]]\nmodel = 'a'", "models[0].name: Field required"),
        ("[[models]]\nname = 'a'", "models[0].model: Field required"),
        (TWO + "thread = 2", "models[1].thread: there is no such key"),
        (TWO + "threads = 0", "models[1].threads: Input should be greater than or equal to 1"),
        (TWO + "threads = '2'", "models[1].threads: Input should be a valid integer"),
        (TWO + "load = 'later'", "models[1].load: Input should be 'start' or 'first_use'"),
        (TWO + "idle_minutes = 0", "models[1].idle_minutes: Input should be greater than 0"),
        (TWO + "[models.defaults]\nnum_beams = 99", "models[1].defaults.num_beams: Input should"),
        (TWO + "[models.defaults]\nbeams = 4", "models[1].defaults.beams: there is no such key"),
        (TWO + "[models.defaults]\npreserve = ['x']", "models[1].defaults.preserve[0]: Input"),
        (TWO.replace("fixer", "rewriter"), "models[1].name: 'rewriter' is the name of models[0]"),
        (TWO.replace("fixer", "a fixer"), "models[1].name: String should match pattern"),
        ("[other]\n" + TWO, "other: there is no such key"),
        ("[[models]\n", "is not TOML"),
    ],
)
def test_faults(tmp_path: Path, text: str, fault: str) -> None:
    """A fault names the setting, the file, the table and the key."""
    path = write(tmp_path, text)
    with pytest.raises(StartupError) as raised:
        read_declarations(Settings(models_file=path))
    assert str(raised.value).startswith(f"T5SERVE_MODELS_FILE: {path}: ")
    assert fault in str(raised.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, and one that is not UTF-8, are named."""
    missing = tmp_path / "missing.toml"
    with pytest.raises(StartupError, match="No such file"):
        read_declarations(Settings(models_file=missing))
    missing.write_bytes(b"\xff\xfe")
    with pytest.raises(StartupError, match="is not UTF-8"):
        read_declarations(Settings(models_file=missing))


def test_an_unknown_name_lists_the_names(tmp_path: Path) -> None:
    """The command line names a model of the file; an unknown name is answered with the list."""
    settings = Settings(models_file=write(tmp_path, TWO))
    with pytest.raises(StartupError, match="no model 'other'; its models are: rewriter, fixer"):
        find_declaration(settings, "other")


def test_a_model_beside_a_file_of_models(tmp_path: Path) -> None:
    """One model and a file of models exclude each other."""
    with pytest.raises(ValidationError, match="exclude each other"):
        Settings(model="tiny-t5", models_file=write(tmp_path, TWO))
