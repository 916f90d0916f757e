"""The shorthand of people in a hurry is spelled out; what only looks like it stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5serve.reformulation.shorthand import spell_out


@pytest.mark.parametrize(
    ("query", "spelled"),
    [
        ("my phone wont charge", "my phone won't charge"),
        ("app doesnt open, cant log in", "app doesn't open, can't log in"),
        ("pls tell me how 2 reset a router", "please tell me how to reset a router"),
        ("explain mortgages plz", "explain mortgages please"),
        ("how do u clean an oven w/o chemicals", "how do you clean an oven without chemicals"),
        ("how are u?", "how are you?"),
        ("ur app keeps crashing", "your app keeps crashing"),
        ("laptop w/ 16 gb ram", "laptop with 16 gb ram"),
        ("im looking 4 a flat", "i'm looking 4 a flat"),
        ("wat time is it", "what time is it"),
    ],
)
def test_a_query_is_spelled_out(query: str, spelled: str) -> None:
    """Apostrophes and chat words, some of them only in their context."""
    assert spell_out(query) == spelled


@pytest.mark.parametrize(
    "query",
    [
        'who sang "dont speak"',
        "its raining and we were ill",
        "u2 songs, vitamin u, u-bolt, how u values work",
        "can u.s. citizens travel to cuba, are u boats fast, if u = 3",
        "can u s citizens vote",
        "Wont Cant UR",
        "edit /etc/dont.conf or dont@mail.com",
        "im client for windows, how to im on teams",
        "48 v/w/x cables, latte w/oat milk, burger w/onions",
        "mujeeb ur rahman, ur of the chaldees",
        "ur of the chaldees",
        "angkor wat tickets, pls regression, b4 paper, jony ive, thx 1138, plz germany",
        "gimme shelter, i wanna be sedated, a change is gonna come",
        "how 2 people can share netflix, how 2 stroke engines work",
        "",
    ],
)
def test_what_is_no_shorthand_stays(query: str) -> None:
    """Quotations, names, titles, units, code, and words that are right."""
    assert spell_out(query) == query


def test_known_words_stay() -> None:
    """Words of the operator's list are never changed."""
    assert spell_out("bday and 2day", {"bday"}) == "bday and today"
    assert spell_out("ur app w/ chat", {"ur"}) == "ur app with chat"


@given(st.text(alphabet=" \"'abimnotuw2/4", max_size=40))
def test_what_is_spelled_out_stays(query: str) -> None:
    """A second time changes nothing more."""
    once = spell_out(query)
    assert spell_out(once) == once
