"""What people type in a hurry becomes what they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5serve.reformulation.informal import spell_out


@pytest.mark.parametrize(
    ("query", "spelled"),
    [
        ("my phone wont charge", "my phone won't charge"),
        ("app doesnt open, cant log in", "app doesn't open, can't log in"),
        ("pls tell me how 2 reset a router", "please tell me how to reset a router"),
        ("how do u clean an oven w/o chemicals", "how do you clean an oven without chemicals"),
        ("ur app keeps crashing", "your app keeps crashing"),
        ("laptop w/ 16 gb ram", "laptop with 16 gb ram"),
        ("im looking 4 a flat", "i'm looking 4 a flat"),
        ("wat time is it", "what time is it"),
        # What is right, or can be:
        ('who sang "dont speak"', 'who sang "dont speak"'),
        ("its raining and we were ill", "its raining and we were ill"),
        ("u2 songs, vitamin u, u-bolt", "u2 songs, vitamin u, u-bolt"),
        ("Wont Cant UR", "Wont Cant UR"),
        ("edit /etc/dont.conf or dont@mail.com", "edit /etc/dont.conf or dont@mail.com"),
        ("im client for windows", "im client for windows"),
        ("48 v/w/x cables", "48 v/w/x cables"),
    ],
)
def test_a_query_is_spelled_out(query: str, spelled: str) -> None:
    """Apostrophes, chat words and their context; names, code and quotations stay."""
    assert spell_out(query) == spelled


def test_known_words_stay() -> None:
    """The operator's list is right."""
    assert spell_out("pls and ppl", {"pls"}) == "pls and people"


@given(st.text(alphabet=" \"'abimnotuw2/4", max_size=40))
def test_what_is_spelled_out_stays(query: str) -> None:
    """A second time changes nothing more."""
    once = spell_out(query)
    assert spell_out(once) == once
