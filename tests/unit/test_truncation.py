"""Inputs shortened to fit, with SentencePiece as the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from support import tiny
from t5engine.messages import Cut
from t5engine.truncation import CHARACTERS_PER_TOKEN, TruncationError, Truncator, trim

BEFORE, AFTER = "which question: ", " ; the answer:"
DOCUMENT = " ".join(tiny.QUERIES.read_text(encoding="utf-8").split()[:400])
LIMIT = 64
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40) | st.lists(
    st.sampled_from(["how", "big", "is", "\ufb01ne", "e\u0301", "\u4eca", " ", "\n\n", "\u2026"])
).map(" ".join)
SIDES = st.sampled_from(["left", "right"])


class Tokenizer:
    """SentencePiece, which records what it encodes.

    Attributes:
        texts: what was encoded so far.
    """

    def __init__(self, path: Path) -> None:
        self._processor = SentencePieceProcessor(model_file=str(path))
        self.texts: list[str] = []

    def encode(self, text: str) -> list[int]:
        self.texts.append(text)
        return [*self._processor.encode(text), tiny.EOS]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._processor.decode(list(ids)))

    def find(self, ids: list[int]) -> str:
        """Returns the last text that has these ids."""
        return next(text for text in reversed(self.texts) if self.encode(text) == ids)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("vocabulary") / "spiece.model"
    tiny.vocabulary(file)
    return file


@pytest.fixture
def tokenizer(path: Path) -> Tokenizer:
    return Tokenizer(path)


def truncator(tokenizer: Tokenizer, limit: int = LIMIT) -> Truncator:
    return Truncator(tokenizer.encode, tokenizer.decode, limit)


def around(document: str, side: str, *breaks: int) -> tuple[str, Cut]:
    """Returns a document in the template, and the cut of the document."""
    start = len(BEFORE)
    cut = Cut(start, start + len(document), side, [start + at for at in breaks])  # type: ignore[arg-type]
    return BEFORE + document + AFTER, cut


def test_a_text_that_fits_is_whole(tokenizer: Tokenizer) -> None:
    """A cut does nothing to a text with few enough tokens."""
    text, cut = around("how big is paris", "right")
    ids = truncator(tokenizer).shorten(text, cut)
    assert ids == tokenizer.encode(text)
    assert truncator(tokenizer, len(ids)).shorten(text, cut) == ids
    assert len(truncator(tokenizer, len(ids) - 1).shorten(text, cut)) == len(ids) - 1


@pytest.mark.parametrize("limit", range(40, 72))
def test_a_document_loses_the_pieces_at_its_end(tokenizer: Tokenizer, limit: int) -> None:
    """The template stays, and as many of the document's first pieces as there is room for."""
    text, cut = around(DOCUMENT, "right")
    before, after = tokenizer.encode(BEFORE)[:-1], tokenizer.encode(AFTER)
    room = limit - len(before) - len(after)
    pieces = tokenizer.encode(DOCUMENT)[:room]
    if tokenizer.decode(pieces[-1:]) == "":  # a blank at the end of a text is no piece
        pieces.pop()
    assert truncator(tokenizer, limit).shorten(text, cut) == before + pieces + after


@pytest.mark.parametrize("limit", range(40, 72))
def test_a_history_loses_the_pieces_at_its_start(tokenizer: Tokenizer, limit: int) -> None:
    """The template stays, and the last pieces; one that began within a word may get a blank."""
    text, cut = around(DOCUMENT, "left")
    ids = truncator(tokenizer, limit).shorten(text, cut)
    assert limit - 1 <= len(ids) <= limit
    kept = tokenizer.find(ids).removeprefix(BEFORE).removesuffix(AFTER)
    assert DOCUMENT.endswith(kept)
    pieces = tokenizer.encode(kept)[:-1]
    is_whole_word = DOCUMENT.removesuffix(kept).endswith(" ")
    assert tokenizer.encode(DOCUMENT)[:-1][-len(pieces) :] == pieces or not is_whole_word


@given(document=TEXTS, side=SIDES, limit=st.integers(24, 40))
def test_any_text_is_cut(path: Path, document: str, side: str, limit: int) -> None:
    """The ids are those of the template around one end of the document, and fit."""
    tokenizer = Tokenizer(path)
    text, cut = around(document, side)
    ids = truncator(tokenizer, limit).shorten(text, cut)
    assert len(ids) <= limit
    shortened = tokenizer.find(ids)
    assert shortened.startswith(BEFORE)
    assert shortened.endswith(AFTER)
    kept = shortened[len(BEFORE) : len(shortened) - len(AFTER)]
    assert document.endswith(kept) if side == "left" else document.startswith(kept)


@pytest.mark.parametrize(("side", "kept"), [("left", "b" * 9 + "c" * 9), ("right", "a" * 9)])
def test_breaks_are_preferred(tokenizer: Tokenizer, side: str, kept: str) -> None:
    """Whole turns go before any part of one; the break that keeps most is taken."""
    turns = "a" * 9 + "b" * 9 + "c" * 9
    text, cut = around(turns, side, 0, 9, 18)
    limit = len(tokenizer.encode(BEFORE + kept + AFTER)) + 3
    assert limit < len(tokenizer.encode(text))
    ids = truncator(tokenizer, limit).shorten(text, cut)
    assert ids == tokenizer.encode(BEFORE + kept + AFTER)


def test_a_turn_that_is_too_long_is_cut(tokenizer: Tokenizer) -> None:
    """Where not even the last turn fits, a part of that turn stays."""
    text, cut = around(DOCUMENT + " bye", "left", 0, 1)
    ids = truncator(tokenizer).shorten(text, cut)
    assert LIMIT - 1 <= len(ids) <= LIMIT
    assert tokenizer.find(ids).endswith(" bye" + AFTER)


def test_the_template_is_never_cut(tokenizer: Tokenizer) -> None:
    """A text that does not fit without its range is refused as too long."""
    text, cut = around("how big", "right")
    smallest = len(tokenizer.encode(BEFORE + AFTER))
    assert len(truncator(tokenizer, smallest).shorten(text, cut)) == smallest
    with pytest.raises(TruncationError, match=f"at most {smallest - 1}") as refusal:
        truncator(tokenizer, smallest - 1).shorten(text, cut)
    assert refusal.value.too_long


@pytest.mark.parametrize(
    "cut",
    [
        Cut(-1, 2, "left"),
        Cut(3, 2, "left"),
        Cut(0, 8, "right"),
        Cut(1, 3, "left", [0]),
        Cut(1, 3, "left", [4]),
    ],
)
def test_a_cut_of_another_text_is_refused(tokenizer: Tokenizer, cut: Cut) -> None:
    """Ranges and breaks outside the text are an error, whether or not the text fits."""
    for use in (truncator(tokenizer).shorten, lambda text, cut: trim(text, cut, 1)):
        with pytest.raises(TruncationError, match=r"the cut is|the break") as refusal:
            use("how big", cut)
        assert not refusal.value.too_long


@pytest.mark.parametrize("document", [DOCUMENT * 500, "\u4eca" * 1_000_000, "x" * 1_000_000])
@pytest.mark.parametrize("side", ["left", "right"])
def test_long_documents_are_not_read(tokenizer: Tokenizer, document: str, side: str) -> None:
    """What is tokenised has a bound, however long the document is."""
    text, cut = around(document, side)
    truncator(tokenizer).shorten(text, cut)
    bound = CHARACTERS_PER_TOKEN * LIMIT + len(BEFORE + AFTER)
    assert max(map(len, tokenizer.texts)) <= bound
    assert len(tokenizer.texts) < 150


@given(parts=st.lists(TEXTS, min_size=1, max_size=8), side=SIDES, limit=st.integers(24, 40))
def test_trimming_changes_nothing(path: Path, parts: list[str], side: str, limit: int) -> None:
    """A text trimmed for its way to a worker is cut as the whole text is."""
    tokenizer = Tokenizer(path)
    document, breaks = "", []
    for part in parts:
        breaks.append(len(document))
        document += " ".join(part.split()) + "how big" * limit
    text, cut = around(document, side, *breaks)
    trimmed, trimmed_cut = trim(text, cut, limit)
    assert len(trimmed) <= CHARACTERS_PER_TOKEN * limit + len(BEFORE + AFTER)
    shorten = truncator(tokenizer, limit).shorten
    assert shorten(trimmed, trimmed_cut) == shorten(text, cut)


@pytest.mark.parametrize("side", ["left", "right"])
def test_blanks_take_no_room(side: str) -> None:
    """A long run of blanks counts as one, as it does in the tokenizer."""
    blanks = " \n" * 10_000
    text, cut = trim(*around(f"how{blanks}big{blanks}is", side, 3, 20_006), LIMIT)
    assert text == f"{BEFORE}how big is{AFTER}"
    assert [text[at:] for at in cut.breaks] == [f" big is{AFTER}", f" is{AFTER}"]
    assert text[cut.end :] == AFTER
