"""Guards of lists of queries: what the whole list keeps, and what no query of it may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5gguf.tasks import Preserved
from t5serve.reformulation.guards.guards import PRESERVED, Guards
from t5serve.reformulation.guards.lists import ListGuards

TESLA = "Who lived longer, Nikola Tesla or Milutin Milankovic?"
TEXTS = st.lists(
    st.sampled_from(
        ["which", "phone", "Oslo", "not", "without", "5", '"big"', "zyxeltron", "best", "?"]
    ),
    min_size=1,
    max_size=6,
).map(" ".join)


OSLO = "oslo rome flight time; oslo rome flight price"
CHER = "how old is cher and is she still touring"
PARTHENON = "how old is the parthenon temple and who built it"
LYNX = "which is heavier, a baboon or a canada lynx"
CHILE = "what is the capital of chile and how many people live there"


@pytest.mark.parametrize(
    ("kind", "query", "pieces", "is_kept"),
    [
        ("numbers", "iphone 15 or galaxy 24", "iphone 15 price; galaxy 24 price", True),
        ("numbers", "iphone 15 or galaxy 24", "iphone 15 price; galaxy price", False),
        ("numbers", "iphone 15 price and size", "iphone 15 price; iphone 15 size", True),
        ("quoted", 'who sang "new york"', '"new york" singer; singers', True),
        ("quoted", 'who sang "new york"', "new; york singer", False),
        ("numbers", "area in km\u00b2 of Rhodes and Malta", "Rhodes area; Malta area", True),
        (
            "capitalised",
            "Between Qantas and Jetstar, which is older?",
            "Qantas age; Jetstar age",
            True,
        ),
        ("capitalised", TESLA, "Nikola Tesla age; Milutin Milankovic age", True),
        ("capitalised", TESLA, "Nikola Tesla age; Nikola Tesla life", False),
        ("identifiers", "rtx-4090 or rx7900", "rtx-4090 test; rx7900 test", True),
        ("identifiers", "rtx-4090 or rx7900", "rtx-4090 test; rx7800 test", False),
        ("negation", "cakes and pies without sugar", "cakes without sugar; pies", True),
        ("negation", "cakes and pies without sugar", "cakes without sugar; pies no sugar", True),
        ("negation", "cakes and pies without sugar", "sugar-free cakes; pies", True),
        ("negation", "cakes and pies without sugar", "cakes; pies with sugar", False),
        ("negation", "cakes and pies without sugar", "cakes without sugar; not eggs", False),
        ("negation", "cakes and pies", "cakes; pies without sugar", False),
        ("negation", "flights from oslo to rome", "oslo to rome; flights to oslo from rome", False),
        ("negation", "is it safe to eat raw eggs", "raw eggs safe; unsafe eggs", False),
        ("rare", TESLA, "nikola tesla lifespan; milutin milankovic lifespan", True),
        ("rare", TESLA, "nikola tesla lifespan; milankovic lifespan", False),
        ("rare", TESLA, "nikola tesla milutin milankovic lifespan; lifespan of people", False),
        ("rare", TESLA, "nikola tesla milutin milankovic lifespan; longer", True),
        ("rare", TESLA, "nikola tesla milutin milankovic lifespan; longer age", False),
        (
            "rare",
            "bushy aster or butterfly plant",
            "bushy aster color; butterfly plant color",
            True,
        ),
        ("rare", TESLA, "nikola tesla milutin milankovic lifespan; who", False),
        ("rare", "iphone 15 or galaxy 24 price", "iphone 15 price; galaxy 24 price", True),
        ("rare", CHILE, "chile capital; chile population", True),
        ("rare", CHILE, "chile capital; how many people live there", False),
        ("aspects", "flight time between oslo and rome and price", OSLO, True),
        ("aspects", "how far is mars and how long is the trip", "mars distance; trip length", True),
        ("aspects", "who is cher and what is her best song", "cher biography; best song", True),
        ("negation", "i tried everything but the tap still drips", "tap still drips", True),
        ("negation", "a phone in any colour but pink", "phone in colour but pink", False),
        ("rare", CHER, "cher age; cher touring", True),
        ("rare", CHER, "cher age; she still touring", False),
        ("rare", LYNX, "baboon weight; canada lynx weight", True),
        ("rare", LYNX, "baboon canada lynx weight; weight", False),
        ("rare", PARTHENON, "parthenon temple age; parthenon builder", True),
        ("rare", PARTHENON, "temple age; parthenon builder", False),
        ("rare", "cheap phones or tablets", "cheap phones; good tablets", True),
        ("rare", "cheap phones or tablets", "cheap phones; tablets; good cars", False),
        ("content", "cheap phones and tablets", "cheap phones; cheap tablets", True),
        ("content", "cheap phones and tablets", "cheap phones; phones", False),
        ("content", "cheap phones and tablets", "cheap phones; cheap used tablets", False),
        ("content", "why do phones and tablets break", "why do phones break; tablets break", True),
        ("content", "why do phones and tablets break", "phones break; tablets break", False),
        ("keywords", "why do phones and tablets break", "phones break; tablets break", True),
        ("keywords", "why do phones and tablets break", "phones break; break", False),
        ("keywords", "phones and tablets since 2020", "phones 2020; tablets 2020", False),
        ("keywords", "phones and tablets", "phones phones; tablets", False),
    ],
)
def test_each_guard(kind: Preserved, query: str, pieces: str, is_kept: bool) -> None:  # noqa: FBT001
    """What the query has must stand in one query of a list; each query must be about it."""
    violation = ListGuards(query, [kind]).violation(pieces.split("; "))
    assert violation == (None if is_kept else kind)


def test_terms_stand_in_one_query_each() -> None:
    """A term is not put together from two queries."""
    guards = ListGuards("shoes in new york", terms=("new york", "shoes"))
    assert guards.violation(["cheap shoes", "New York shops"]) is None
    assert guards.violation(["shoes new", "york"]) == "terms"


def test_nothing_is_invented_in_any_query() -> None:
    """A number or a word of no language spoils the list."""
    guards = ListGuards("phones under 500", ["numbers", "rare"])
    assert guards.violation(["phones under 500", "phones price"]) is None
    assert guards.violation(["phones under 500", "phones 2024"]) == "invention"
    assert guards.violation(["phones under 500", "phones grblwz"]) == "invention"


@given(st.sets(st.sampled_from(PRESERVED)), TEXTS, TEXTS)
def test_a_list_of_one_is_judged_like_a_text(
    preserve: set[Preserved], query: str, candidate: str
) -> None:
    """A single query passes the guards of a list if and only if it passes those of a text."""
    alone = Guards(query, preserve).violation(candidate)
    assert (ListGuards(query, preserve).violation([candidate]) is None) == (alone is None)


@given(TEXTS, TEXTS)
def test_the_query_itself_passes_all_guards(query: str, other: str) -> None:
    """Also twice; and without anything to keep everything passes."""
    guards = ListGuards(query, PRESERVED, terms=[query])
    assert guards.violation([query]) is None
    assert guards.violation([query, query]) is None
    assert ListGuards(query).violation([other]) is None
