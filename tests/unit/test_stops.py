"""Stop strings, complete and begun."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5engine.decoding.stops import Stops

# Few letters, of one to four bytes, so that strings overlap themselves and one another.
letters = st.sampled_from("ab é🥾")
strings = st.lists(st.text(letters, max_size=4), max_size=4)
chunks = st.lists(st.text(letters, max_size=5), max_size=12)


def until_stop(stops: Stops, parts: list[str]) -> list[str]:
    """Returns the text after each part, up to the part that completes a stop string."""
    texts = list(accumulate(parts, initial=""))
    last = next((n for n, text in enumerate(texts) if stops.matches(text)), len(texts))
    return texts[: last + 1]


@pytest.mark.parametrize(
    ("stop", "text", "matches", "settled"),
    [
        (["aab"], "", False, ""),
        (["aab"], "aaa", False, "a"),  # the last two may begin it
        (["aab"], "aaab", True, "a"),
        (["aab"], "aabaab", True, ""),
        (["abab"], "aba", False, ""),
        (["abab"], "abaab", False, "aba"),
        (["ab", "b"], "a", False, ""),
        (["bc", "abd"], "ab", False, ""),  # the longest that may begin one is held
        (["bc", "abd"], "abc", True, "a"),
        (["cd", "bc"], "abcd", True, "a"),  # whichever comes first in the text
        (["é"], "caf", False, "caf"),
        (["é🥾"], "café", False, "caf"),
        (["é🥾"], "café!", False, "café!"),
        (["\n\n"], "one\n", False, "one"),
        ([""], "a", False, "a"),
        ([], "a", False, "a"),
    ],
)
def test_a_few_texts(stop: list[str], text: str, settled: str, *, matches: bool) -> None:
    """Worked out by hand."""
    stops = Stops(stop)
    assert stops.matches(text) == matches
    assert stops.settled(text) == settled
    assert stops.cut(text) == (settled if matches else text)


def test_empty_strings_are_none() -> None:
    """Empty strings are ignored: they are in every text, and would end it at once."""
    assert not Stops([])
    assert not Stops(["", ""])
    assert Stops(["", "a"])


@given(strings, chunks)
def test_what_is_settled_stays(stop: list[str], parts: list[str]) -> None:
    """Settled text only grows, is a prefix of the final text, and is all of it after a stop."""
    stops = Stops(stop)
    texts = until_stop(stops, parts)
    final = stops.cut(texts[-1])
    settled = [stops.settled(text) for text in texts]
    assert all(after.startswith(before) for before, after in pairwise(settled))
    assert all(final.startswith(prefix) for prefix in settled)
    if stops.matches(texts[-1]):
        assert settled[-1] == final


@given(strings, st.text(letters, max_size=20))
def test_nothing_is_held_without_need(stop: list[str], text: str) -> None:
    """Text that is held back begins a stop string."""
    stops = Stops(stop)
    held = text[len(stops.settled(text)) :]
    if not stops.matches(text):
        assert not held or any(string.startswith(held) for string in stop)


@given(strings, st.text(letters, max_size=20))
def test_the_cut_text_has_no_stop_string(stop: list[str], text: str) -> None:
    """The cut text ends where the first stop string begins."""
    cut = Stops(stop).cut(text)
    assert text.startswith(cut)
    assert not Stops(stop).matches(cut)
    if cut != text:
        assert any(text.startswith(string, len(cut)) for string in stop if string)
