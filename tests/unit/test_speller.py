"""Corrections by the words of a collection, and the lexicon that has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from t5serve.__main__ import main
from t5serve.errors import StartupError
from t5serve.reformulation.lexicon import Lexicon
from t5serve.reformulation.speller import Speller

COUNTS = {
    "heat": 600,
    "that": 1500,
    "dielectric": 40,
    "constant": 50,
    "kubectl": 9,
    "logs": 30,
    "wave": 300,
    "was": 700,
    "buckling": 290,
    "the": 20000,
    "angle": 300,
    "edge": 20,
    "edges": 30,
    "mode": 50,
    "made": 60,
}


@pytest.mark.parametrize(
    ("query", "corrected"),
    [
        ("deilectric constnat", "dielectric constant"),
        ("Deilectric, constant?", "dielectric, constant?"),
        ("ehat wae", "heat wave"),  # and not "that was", which are more frequent
        ("kubectl logs", "kubectl logs"),
        ("kubetcl logs", "kubectl logs"),
        ("bucking of plates", "buckling of plates"),  # English, but one slip from a frequent word
        ("awev", "wave"),  # "awed" is nearer, but no word that everybody uses
        ("anyoen", "anyone"),  # English and nearer than "angle", which the lexicon has
        ("edg", "edge"),  # a letter left out is likelier than two
        ("mide", "mode"),  # i lies beside o; "made" is more frequent
        ("obeyed laws", "obeyed laws"),  # English, and near to nothing
        ("x1 da29-00020b", "x1 da29-00020b"),
        ("", ""),
    ],
)
def test_unknown_words_become_known_ones(query: str, corrected: str) -> None:
    """Words of the lexicon are never altered, nor what stands between words."""
    assert Speller(Lexicon(COUNTS)).correct(query) == corrected


def test_a_lexicon_file(tmp_path: Path) -> None:
    """A line has a word and a count, or a word alone; words are folded."""
    path = tmp_path / "words.tsv"
    path.write_text("\ufeffHeat\t3\nwi-fi\t2\n\nheat\nlogs\t\n", encoding="utf-8")
    assert Lexicon.read(path).counts == {"heat": 4, "wi": 2, "fi": 2, "logs": 1}


@pytest.mark.parametrize("text", ["heat\tmuch\n", "heat\t-1\n"])
def test_a_malformed_lexicon_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    """The service does not start on a file that it would misread."""
    path = tmp_path / "words.tsv"
    path.write_text("logs\t2\n" + text, encoding="utf-8")
    with pytest.raises(StartupError, match="line 2"):
        Lexicon.read(path)
    with pytest.raises(StartupError, match="can't be read"):
        Lexicon.read(tmp_path / "missing")


def test_the_command_counts_the_words_of_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The most frequent word comes first; an index's terms are taken as they are."""
    documents, terms, out = (tmp_path / name for name in ("docs.txt", "terms.tsv", "out.tsv"))
    documents.write_text("Heat and heat.\nWave\n", encoding="utf-8")
    assert main(["lexicon", str(documents), "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == "heat\t2\nand\t1\nwave\t1\n"
    terms.write_text("wave\t7\nheat\t1\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["lexicon", "--terms", str(terms), "--min-count", "2"]) == 0
    assert capsys.readouterr().out == "wave\t7\n"
    assert main(["lexicon", str(tmp_path / "missing")]) == 1
