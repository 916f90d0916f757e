"""The parts of a query that a candidate must contain."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t5serve.reformulation.preserve import (
    CONSTRAINT_TYPES,
    ConstraintType,
    find_capitalised_names,
    preserves,
)

ALL = frozenset(CONSTRAINT_TYPES)
PARTS = (
    "how to in why? end. The A I I'm don't 2024 1,000 3.5 12/25 iphone12 \"?\" \"big apple\" 'n' "
    "\u201cto be\u201d NASA iPhone Ben Affleck's AT&T - "
    "\u4f60\u597d \u041c\u043e\u0441\u043a\u0432\u0430"
)
QUERIES = st.lists(st.sampled_from(PARTS.split(" ")), min_size=1, max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("query", "candidate", "kept"),
    [
        ("top 10 films of 1999", "the 10 best films of 1999", True),
        ("top 10 films", "top films", False),
        ("top 10 films", "top 100 films", False),
        ("top 10 films", "top ten films", False),
        ("no numbers", "none either", True),
        ("no numbers", "now 1", True),
        ("1,000 dollars", "1000 dollars", True),
        ("1000 dollars", "$1,000", True),
        ("12,345,678 people", "12345678 people", True),
        ("1,000 dollars", "1 dollar and 000", False),
        ("1,50 euro", "150 euro", False),
        ("version 3.5", "version 3.5.", True),
        ("version 3.5", "version 35", False),
        ("version 3.5", "version 5.3", False),
        ("version 3", "version 3.5", False),
        ("on 12/25/2020", "what was on 12/25/2020?", True),
        ("on 12/25/2020", "on 25/12/2020", False),
        ("at 10:30", "10:30 trains", True),
        ("at 10:30", "10 and 30", False),
        ("iphone12 case", "iphone 12 case", True),
        ("iphone12 case", "iphone case", False),
        ("covid-19 test", "covid 19 tests", True),
        ("7kW charger", "a charger of 7 kW", True),
        ("from 5 to 5", "from 5 to 5", True),
        ("from 5 to 5", "from 5", False),
        ("\uff11\uff12 monkeys", "12 monkeys", True),
        ("10%", "10 percent", True),
        ("\u00bd cup", "1/2 cup", True),
    ],
)
def test_numbers(query: str, candidate: str, kept: bool) -> None:  # noqa: FBT001
    """Numbers match in any spacing, as often as in the query."""
    assert preserves(query, candidate, ["numbers"]) == kept


@pytest.mark.parametrize(
    ("query", "candidate", "kept"),
    [
        ('"big apple" tours', "tours of the Big Apple", True),
        ('"big apple" tours', "tours of the big red apple", False),
        ('"big apple" tours', "big apples", False),
        ('"to be" or "not"', "to be is not", True),
        ('"to be" or "not"', "to be is", False),
        ("\u201cbig apple\u201d tours", "big pear tours", False),
        ("\u00abbig apple\u00bb tours", "big pear tours", False),
        ("\u201ebig apple\u201c tours", "big pear tours", False),
        ("\u2018big apple\u2019 tours", "big pear tours", False),
        ("\uff02big apple\uff02 tours", "big pear tours", False),
        ("'big apple' tours", "big pear tours", False),
        ("'big apple' tours", "tours: big apple", True),
        ("what's the dog's name", "name of a dog", True),
        ("don't or won't", "neither", True),
        ("the dogs' and the cats' food", "pet food", True),
        ("a room of 12' x 14'", "large room", True),
        ('a 27" screen', "a screen", True),
        ('meaning of "Wi-Fi"', "what does wi fi mean", True),
        ('meaning of "Wi-Fi"', "what does wifi mean", False),
        ('what does "" mean', "meaning of nothing", True),
        ('what does "?" mean', 'meaning of "?"', True),
        ('"\u0915\u093f"', "\u0915\u093e", False),
    ],
)
def test_quoted(query: str, candidate: str, kept: bool) -> None:  # noqa: FBT001
    """Quoted phrases stay together; apostrophes and inch signs are no quotes."""
    assert preserves(query, candidate, ["quoted"]) == kept


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("how to cook rice", []),
        ("How to cook rice", []),
        ("How to cook rice in Rome", ["Rome"]),
        ("why? Because it is there. So what", []),
        ("is NASA hiring", ["NASA"]),
        ("NASA jobs", ["NASA"]),
        ("NASA", []),
        ("IS NASA HIRING", []),
        ("iPhone cases", ["iPhone"]),
        ("cheap iPhone cases", ["iPhone"]),
        ("Ben Affleck movies", ["Ben", "Affleck"]),
        ("movies with Ben Affleck", ["Ben", "Affleck"]),
        ("Ben Affleck's movies", ["Ben", "Affleck"]),
        ("Ben Affleck\u2019s movies", ["Ben", "Affleck"]),
        ("should I go", []),
        ("why I'm tired and I\u2019ve slept", []),
        ("I love Paris", ["Paris"]),
        ("Can I fly to Rome", ["Rome"]),
        ("AT&T or T-Mobile", ["AT&T", "T-Mobile"]),
        ("books by O'Reilly", ["O'Reilly"]),
        ("is \u201cHamlet\u201d (Shakespeare) long", ["Hamlet", "Shakespeare"]),
        ("flights to \u00c5lesund", ["\u00c5lesund"]),
        (
            "\u043f\u043e\u0433\u043e\u0434\u0430 \u0432 \u041c\u043e\u0441\u043a\u0432\u0435",
            ["\u041c\u043e\u0441\u043a\u0432\u0435"],
        ),
        ("\u4f60\u597d \u5317\u4eac", []),
        ("\uff2e\uff21\uff33\uff21 jobs", ["NASA"]),
        ("hotels in St. Louis", ["St", "Louis"]),
        ("films with Dr. Strange", ["Dr", "Strange"]),
    ],
)
def test_capitalised(query: str, names: list[str]) -> None:
    """Names are found, but no words with the capital of a sentence's beginning, nor "I"."""
    assert find_capitalised_names(query) == names


@pytest.mark.parametrize(
    ("query", "candidate", "kept"),
    [
        ("films with Ben Affleck", "ben affleck films", True),
        ("films with Ben Affleck", "affleck films by ben", True),
        ("films with Ben Affleck", "films with ben", False),
        ("jobs at NASA", "nasal jobs", False),
        ("jobs at AT&T", "at&t jobs", True),
        ("jobs at AT&T", "jobs", False),
        ("Ben Affleck's movies", "movies of ben affleck", True),
    ],
)
def test_names_are_kept_as_words(query: str, candidate: str, kept: bool) -> None:  # noqa: FBT001
    """Names match in any case, as whole words."""
    assert preserves(query, candidate, ["capitalised"]) == kept


@pytest.mark.parametrize("constraint_type", sorted(CONSTRAINT_TYPES))
def test_only_what_was_asked_for_is_kept(constraint_type: ConstraintType) -> None:
    """Each type checks its own parts only; without types every candidate passes."""
    query = 'is "big apple" 10 miles from Boston'
    kept: dict[ConstraintType, str] = {
        "numbers": "10",
        "quoted": "big apple",
        "capitalised": "boston",
    }
    for kept_type, candidate in kept.items():
        assert preserves(query, candidate, [constraint_type]) == (constraint_type == kept_type)
    assert preserves(query, "anything", [])
    assert preserves(query, " ".join(kept.values()), ALL)


@settings(deadline=None)
@given(QUERIES | st.text(max_size=30))
def test_a_text_keeps_everything_of_itself(text: str) -> None:
    """A query satisfies its own constraints."""
    assert preserves(text, text, ALL)


@settings(deadline=None)
@given(QUERIES, QUERIES, QUERIES)
def test_more_words_lose_nothing(query: str, before: str, after: str) -> None:
    """A candidate can have more words than the query."""
    assert preserves(query, f"{before} {query} {after}", ALL)


@settings(deadline=None)
@given(QUERIES, QUERIES, QUERIES)
def test_what_is_kept_twice_is_kept(first: str, second: str, third: str) -> None:
    """The constraint on numbers is transitive."""
    if preserves(first, second, ["numbers"]) and preserves(second, third, ["numbers"]):
        assert preserves(first, third, ["numbers"])
