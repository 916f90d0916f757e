"""The clean-up of spaces in answers: of whole texts, of begun ones, and of their parts."""

from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from support.parity import golden
from t5engine.tokenization.cleanup import clean_up, clean_up_begun, divide

# What is replaced, whole and in part, and much that is not.
pieces = st.sampled_from(
    [" ", "  ", *".?!,'", " '", " .", "n", "n'", "'t", "n't", "m", "'s", "'v", "e", "re", "a", "é "]
)
chunks = st.lists(st.lists(pieces, max_size=3).map("".join), max_size=12)
OVERTAKEN = [" '", " ", "."]  # the full stop takes the space that " ' " would lose


def test_whole_texts_are_cleaned_as_by_transformers() -> None:
    """Golden texts; each replacement changes some of them."""
    cases = golden("checkpoint_forms")["cleaned"]
    assert sum(text != cleaned for text, cleaned in cases) > 50
    assert [clean_up(text) for text, _ in cases] == [cleaned for _, cleaned in cases]


@given(chunks)
@example(OVERTAKEN)
def test_what_is_told_of_a_begun_text_stays(parts: list[str]) -> None:
    """It only grows, and begins the cleaned text, whatever follows."""
    texts = list(accumulate(parts, initial=""))
    begun = [clean_up_begun(text) for text in texts]
    assert all(after.startswith(before) for before, after in pairwise(begun))
    assert all(clean_up(texts[-1]).startswith(text) for text in begun)


@given(chunks)
def test_only_the_end_of_a_begun_text_is_held_back(parts: list[str]) -> None:
    """A letter that begins no contraction settles all that is before it."""
    text = "".join(parts) + "x"
    assert clean_up_begun(text) == clean_up(text)


@given(chunks)
@example(OVERTAKEN)
@example(["a", " ", " '", " ", ".", " ' 's"])
def test_parts_of_a_begun_text_are_those_of_the_whole(parts: list[str]) -> None:
    """Joined, they are the cleaned text; a part that is told stays the same whatever follows."""
    text = "".join(parts)
    whole = divide(clean_up(text), parts, final=True)
    assert len(whole) == len(parts)
    assert "".join(whole) == clean_up(text)
    for count in range(len(parts) + 1):
        cleaned = clean_up_begun("".join(parts[:count]))
        begun = divide(cleaned, parts[:count], final=False)
        assert begun == whole[: len(begun)]
        # Nothing is held back but what is not in the cleaned text yet.
        assert len("".join(begun)) == len(cleaned) or len(begun) < count
