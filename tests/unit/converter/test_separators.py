"""Separators of tasks, from a recipe to the keys of a file: only what the vocabulary can write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from support import listed, taught
from support.conversions import PROVENANCE, convert_lists
from t5engine.reader import GGUFFile
from t5engine.tokenization.marks import get_mark, has_mark
from t5gguf import __main__ as cli
from t5gguf import recipe
from t5gguf.config import Config
from t5gguf.convert import Converter
from t5gguf.errors import ConversionError
from t5gguf.tasks import Task
from t5gguf.vocab import Vocabulary
from t5gguf.writer import padded_rows

RECIPE = """\
name = "small"
description = "A small one."
license = "Apache-2.0"
file = "small-Q8_0.gguf"

[source]
repo = "owner/small"

[tasks.search]
template = "search: {query}"
separator = "||"
n = 5
"""


def load_pieces(directory: Path) -> list[str]:
    config = Config.load(directory)
    vocabulary = Vocabulary.load(directory, config, padded_rows(config.vocab_size))
    return vocabulary.select_shown_pieces()


@pytest.mark.parametrize(
    ("separator", "is_piece"),
    [
        (" ; ", True),
        (";", True),
        (" | ", True),
        (" and ", True),  # a piece with a space
        ("\u2022", False),  # unknown, which is never generated
        (" ;; ", False),  # two pieces
        ("<sep>", False),
        ("</s>", False),
        ("<unk>", False),
        ("[PAD8001]", False),
    ],
)
def test_marks_of_the_english_vocabulary(
    tmp_path: Path,
    separator: str,
    is_piece: bool,  # noqa: FBT001
) -> None:
    """A mark is a piece of its own, with or without a space before it."""
    assert has_mark(load_pieces(listed.build(tmp_path)), separator) == is_piece


@pytest.mark.parametrize("kind", taught.KINDS)
@pytest.mark.parametrize(
    ("separator", "is_piece"),
    [(" <sep> ", True), ("\n", True), ("<hl>", False), ("<extra_id_0>", False), (";", False)],
)
def test_marks_among_added_tokens(
    tmp_path: Path,
    kind: str,
    separator: str,
    is_piece: bool,  # noqa: FBT001
) -> None:
    """Added tokens are marks, unless they are special and so have no text, or are sentinels."""
    assert has_mark(load_pieces(taught.build(kind, tmp_path)), separator) == is_piece


def test_a_mark_has_no_blanks_around_it() -> None:
    """A line break is no blank."""
    assert [get_mark(text) for text in (" ; ", "\n", " <sep>")] == [";", "\n", "<sep>"]


def test_the_file_has_the_separator_and_the_number(tmp_path: Path) -> None:
    """So that it is served without a recipe as with it."""
    metadata = GGUFFile.open(convert_lists(tmp_path)).metadata
    assert metadata["t5serve.separator.search"] == " ; "
    assert metadata["t5serve.n.search"] == 5


def test_inspect_shows_which_task_answers_with_a_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the separator."""
    assert cli.main(["inspect", str(convert_lists(tmp_path))]) == 0
    assert "task search: 'search: ', a list of queries between ' ; '\n" in capsys.readouterr().out


def test_a_recipe_s_separators_reach_the_converter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command refuses one that the vocabulary lacks; other tasks on the command line win."""
    source = listed.build(tmp_path / "source")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "small.toml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.setattr(recipe, "BUNDLED", tmp_path / "none")
    monkeypatch.setattr(recipe, "CHECKOUT", tmp_path)
    command = [
        "convert",
        str(source),
        "--out",
        str(tmp_path / "x.gguf"),
        "--recipe",
        "small",
        "--quiet",
    ]
    assert cli.main(command) == 1
    assert "task search has the separator '||'" in capsys.readouterr().err
    assert cli.main([*command, "--prefix", "ask=q: "]) == 0
    keys = GGUFFile.open(tmp_path / "x.gguf").metadata
    assert not [key for key in keys if key.startswith(("t5serve.separator.", "t5serve.n."))]


def test_a_separator_that_is_no_piece_is_refused(tmp_path: Path) -> None:
    """With the tasks that have one, and what to do."""
    directory = listed.build(tmp_path / "source")
    separators = {"reformulate": " \u2022 ", "paraphrase": " ; ", "other": "||"}
    tasks = {name: Task(separator=separator) for name, separator in separators.items()}
    provenance = replace(PROVENANCE, tasks=tasks)
    with pytest.raises(ConversionError) as raised:
        Converter(directory, provenance, ["a query"])
    first, second = str(raised.value).splitlines()
    assert first.startswith("task reformulate has the separator ' \u2022 ', but no piece")
    assert second.startswith("task other has the separator '||', but no piece")
    assert first.endswith("name another one, or add it as a token before training")


def test_a_separator_that_was_trimmed_away_is_refused(tmp_path: Path) -> None:
    """The domain's text has to have answers, with their marks."""
    directory = listed.build(tmp_path / "source")
    domain = tmp_path / "domain.txt"
    provenance = replace(PROVENANCE, tasks={"reformulate": Task(separator="and")})
    domain.write_text("cats\n", encoding="utf-8")
    with pytest.raises(ConversionError, match="task reformulate has the separator 'and'"):
        Converter(directory, provenance, ["a query"], domain=domain)
    domain.write_text("cats\ncats and dogs\n", encoding="utf-8")
    Converter(directory, provenance, ["a query"], domain=domain)
