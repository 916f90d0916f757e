"""What of a query a candidate must keep, and must not invent."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from t5gguf.tasks import Preserved
from t5serve.reformulation.guards.guards import PRESERVED, Guards, preserves
from t5serve.reformulation.guards.lists import ListGuards
from t5serve.reformulation.guards.phrases import find_capitalised_names
from t5serve.reformulation.lexicon import Lexicon

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
    assert preserves(query, candidate, "numbers") == kept


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
    assert preserves(query, candidate, "quoted") == kept


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
    assert preserves(query, candidate, "capitalised") == kept


@pytest.mark.parametrize(
    ("query", "candidate", "kept"),
    [
        ("pan that is not toxic", "pan that isn't toxic", True),
        ("pan that is not toxic", "pan that is toxic", False),
        ("iphone case without magsafe", "iphone case with no magsafe", True),
        ("search engine other than Google", "use Google search engine", False),
        ("search engine other than Google", "other than Google search engine", True),
        ("iphone case without magsafe", "iphone case magsafe", False),
        ("iphone case", "iphone case without magsafe", False),
        ("sugar-free cake", "cake free of sugar", True),
        ("sugar-free cake", "sugar cake", False),
        ("laptop won't turn on", "laptop does not turn on", True),
        ("laptop won't turn on", "laptop turns on", False),
        ("shoes for men, not leather", "leather shoes, not for men", False),
        ("is it safe to swim", "is it unsafe to swim", False),
        ("unlocked phone", "locked phone", False),
        ("cheap flights", "expensive flights", False),
        ("increase volume", "decrease volume", False),
        ("convert kg to lbs", "how to convert kg to lbs", True),
        ("convert kg to lbs", "convert lbs to kg", False),
        ("trains from rome to paris", "trains from paris to rome", False),
        ("trains from rome to paris", "trains to paris from rome", True),
        ("can dogs eat cats", "can cats eat dogs", False),
        ("free parking", "parking free", True),
        ("shoes under 50 dollars", "shoes over 50 dollars", False),
    ],
)
def test_negation(query: str, candidate: str, kept: bool) -> None:  # noqa: FBT001
    """What is negated stays negated, nothing else is, and directions are not exchanged."""
    assert preserves(query, candidate, "negation") == kept


@pytest.mark.parametrize(
    ("query", "candidate", "kept"),
    [
        ("how can i learn to play guitar", "what is the best way to learn to play guitar", True),
        ("how can i learn to play guitar", "how can i play guitar", False),
        ("how can i learn to play guitar", "how can i learn to play bass guitar", False),
        ("buy cheap car", "purchase an inexpensive automobile", True),
        ("children bought books", "books that a child buys", True),
        ("wifi router", "wi-fi router", True),
        ("create a table of top headphones", "best headphones", True),
        ("python create table", "python table", False),
        ("where is the protien made", "where is the protein made", True),
        ("kubectl logs", "cubical logs", False),
        ("who wrote hamlet", "when was hamlet written", False),
        ("what is gabba", "how can we get a gabba", False),
        ("iphone case", "is the iphone case", False),
        ("heroic realism", "a heroic heroic realism", False),
        ("how to tie a bow tie step by step", "how can i tie my step step into a bow tie", False),
        ("What Tesla models are available?", "What are Tesla models are available?", False),
        ("the milky way", "how is the milky way", False),
        ("Describe the 321 method", "How do I describe the 321 method?", False),
        ("the best method of baking bread", "how do you bake bread", True),
        ("who was citizen kane based on", "who is citizen kane based on their own", False),
        ("who won the world cup", "who would win the world cup", False),
        ("usb c cable", "used usb c cable", False),
        ("definately vs certainly", "definition of definately vs certainly", False),
        ("foods to avoid with gout", "foods to avoid gout", False),
        ("phone with good camera", "good camera phone", True),
        ("exercises for lower back pain", "exercises on lower your back pain", False),
        ("how do i clean a laptop", "how do i clean my laptop", True),
        ("can i take aspirin", "should i take aspirin", False),
        ("can you drink alcohol with antibiotics", "can i drink alcohol from antibiotics", False),
        ("what if you don't vote in brazil", "what if you don't vote for brazil", False),
        ("symptoms of flu in adults", "flu symptoms in adults", True),
        ("guidelines for presentations", "guidelines of presentations", True),
        ("environmental impact of bitcoin", "environmental impact on bitcoin", False),
        ("when to see a doctor", "when are you a doctor", False),
        ("I need to see my invoices", "where are my invoices", False),
        ("I need to find my invoices", "my invoices", True),
        ("cast iron pan", "cast an iron pan", False),
        ("gluten free pasta", "gluten for free pasta", False),
        ("restaurants barcelona", "restaurants in barcelona", False),  # as "hotel in california"
        ("charged twice this month", "charged twice a month", False),
        ("app won't open on ipad", "what is the app that won't open on ipad", False),
        ("guitar leson", "guitar leon", False),
        ("guitar leson", "guitar lesson", True),
        ("how to clean laptop screen", "how do i clean a laptop screen", True),
        ("usb cable 2 meters", "usb cable 2 in meters", False),
        ("when does winter start", "when did winter start", False),
        ("process when someone leaves", "process when you leave", False),
        ("go channel vs mutex", "channel vs mutex", False),
        ("why is internet slow", "why do people use slow internet", False),
        ("headphones under 100", "if you were headphones under 100", False),
        ("intranational rules", "international rules", False),
        ("internaional rules", "international rules", True),
        ("best way to learn python", "is the best way to learn python", False),
        ("methods of cooking ribs", "are the methods of cooking ribs", False),
        ("how to learn python", "is how to learn python", False),
        ("how to learn python", "is there a way to learn python", True),
        ("can you tell me how to learn python", "how to learn python", True),
        ("is theer a way to learn python", "is there a way to learn python", True),
        ("is this way to learn python right", "how do i learn python right", False),
        ("how do i delete my account", "how do you delete an account", True),
        ("how do i delete my account", "how do you delete your account", True),
        ("why is my internet slow", "why is the internet slow", True),
        ("what are your opening hours", "what are the opening hours", True),
        ("what are your opening hours", "what are my opening hours", False),
        ("can cats eat strawberries", "do cats eat strawberries", False),
        ("do cats eat strawberries", "can cats eat strawberries", False),
        ("should i stretch before running", "do i stretch before running", False),
        ("can cats eat strawberries", "could cats eat strawberries", True),
        ("do you know how i can learn guitar", "how can i learn guitar", True),
        ("my account is locked", "my account is locked by locker", False),
        ("best way to teach reading", "best way for a teacher to teach reading", False),
        ("buy cheap car", "buy cheap affordable car", False),
        ("my chemical romance songs", "songs of chemical romance", False),
        ("my chemical romance songs", "songs of my chemical romance", True),
    ],
)
def test_content(query: str, candidate: str, kept: bool) -> None:  # noqa: FBT001
    """Content words stay, by stem or near synonym; none is added, nor another question asked."""
    assert preserves(query, candidate, "content") == kept


@pytest.mark.parametrize(
    ("query", "candidate", "kept"),
    [
        ("symptoms of pleurisy", "signs of pleurisy", True),
        ("symptoms of pleurisy", "symptoms of pneumonia", False),
        ("metformin dose", "dose of metformin for adults", True),
        ("metformin dose", "dose of aspirin", False),
        ("cook potatoes", "boil potatoes", True),
        ("cook potatoes", "cook rice", False),
        ("cheap flights", "affordable flights", True),
        ("acommodation in rome", "accommodation in rome", True),
    ],
)
def test_rare(query: str, candidate: str, kept: bool) -> None:  # noqa: FBT001
    """Words that not everybody knows stay, else the least known one; typos may be corrected."""
    assert preserves(query, candidate, "rare") == kept


@pytest.mark.parametrize(
    ("query", "candidate", "kept"),
    [
        ("How can India become cashless?", "India become cashless", True),
        ("is vinegar a treatment for arthritis", "vinegar treatment arthritis", True),
        ("what causes copper in the pool", "pool causes", False),
        ("who did us fight in world war 1", "war 1 war 1", False),
        ("cardiovascular meaning", "what is the meaning of cardiovascular cardiovascular", False),
        ("where is the new stadium being built in las vegas", "las vegas", False),
        ("who wrote creep", "who wrote creep for guitar", False),
        ("cheap flights to rome", "affordable flights rome", True),
        ("can cats eat strawberries", "why do cats eat strawberries", False),
        ("can cats eat strawberries", "cats eat strawberries", True),
        ("error 404 nginx", "how can i get error 404 for nginx", False),
        ("why was my card declined", "what is a declined card", False),
        ("capital of australia before canberra", "capital of australia and canberra", False),
        ("how many grams in 3 tablespoons of sugar", "grams in 3 tablespoons", False),
        ("is shingles vaccine safe after covid", "shingles vaccine safe covid", False),
        ("turn off notifications for one contact", "you turn off notifications contact", False),
        ("largest lake in africa by area", "largest lake in africa area", False),
        ("how far is the moon from earth", "far on the moon earth", False),
        ("best beaches in portugal for families", "best beaches portugal families", True),
        ("causes of low white blood cell count", "low white blood cell count", False),
        ("best way to learn python", "is the way to learn python", False),
        ("when to stop taking antibiotics", "stop taking antibiotics", False),
        (
            "best recent paper on heat transfer in thin steel walls for numerical methods",
            "recent paper heat transfer thin steel walls numerical methods",
            True,
        ),
        ("interest rates 2024", "what are the interest rates in 2024", True),
        ("interest rates 2024", "what are the interest rates for 2024", False),
    ],
)
def test_keywords(query: str, candidate: str, kept: bool) -> None:  # noqa: FBT001
    """Most content words stay, none is added or said twice; the question may be left out."""
    assert preserves(query, candidate, "keywords") == kept


@pytest.mark.parametrize(
    ("query", "candidate", "kept"),
    [
        ("water filter DA29-00020B", "filter da29-00020b for water", True),
        ("water filter DA29-00020B", "water filter da29-0002", False),
        ("git rebase --onto main", "git rebase onto main", False),
        ("edit /etc/nginx/nginx.conf", "how to edit nginx", False),
        ("mail to ann@example.com", "mail to ann", False),
        ("c++ std::vector push_back", "c++ vector push back", False),
        ("C# tutorial", "C tutorial", False),
        ("ctrl+shift+t in firefox", "ctrl+shift+ in firefox", False),
        ("iPhoto library", "iphoto library", True),
        ("iPhoto library", "photo library", False),
        ("python 3.11 release", "python release", True),  # a number, which has its own guard
        ("what is the u.s. capital", "capital of the us", True),
        ("the 1st president", "first president", True),
        ("cats and/or dogs", "dogs or cats", True),
    ],
)
def test_identifiers(query: str, candidate: str, kept: bool) -> None:  # noqa: FBT001
    """Code, flags, paths, part numbers and addresses stay as they are, but for case."""
    assert preserves(query, candidate, "identifiers") == kept


@pytest.mark.parametrize(
    ("query", "candidate", "violation"),
    [
        ("best python books", "top python books", None),
        ("best python books", "top 10 python books", "invention"),
        ("best python books", "best python books bookser", "invention"),
        ("best kubectl books", "best books on kubectl", None),
        ("best oled tv", "best oled tvs", None),
    ],
)
def test_inventions(query: str, candidate: str, violation: str | None) -> None:
    """No number that the query lacks, and no word that is neither its own nor English."""
    assert Guards(query, {"rare"}).violation(candidate) == violation


def test_a_lexicon_has_words_that_are_right() -> None:
    """Words of the caller's collection are no inventions, and no misspellings."""
    lexicon = Lexicon({"protien": 3})
    assert Guards("protien shake", {"content"}).violation("protein shake") is None
    assert Guards("protien shake", {"content"}, (), lexicon).violation("protein shake") == "content"
    assert Guards("shakes", {"rare"}).violation("protien shakes") == "invention"
    assert Guards("shakes", {"rare"}, (), lexicon).violation("protien shakes") is None


def test_terms_are_kept_as_they_are() -> None:
    """The caller's own words and phrases count, whatever else is preserved."""
    guards = Guards("cheap red shoes", terms=["red shoes"])
    assert guards.violation("red shoes that are cheap") is None
    assert guards.violation("shoes in red") == "terms"
    assert Guards("cheap red shoes", terms=["!"]).violation("anything") is None


def test_without_anything_to_keep_everything_passes() -> None:
    """Guards are off unless a recipe or a request turns them on."""
    assert not Guards("10 red shoes")
    assert Guards("10 red shoes").violation("20 blurps without 30") is None


@pytest.mark.parametrize("preserved", PRESERVED)
@given(text=QUERIES | st.text(max_size=30))
def test_a_text_keeps_everything_of_itself(preserved: Preserved, text: str) -> None:
    """No guard rejects the query itself."""
    assert preserves(text, text, preserved)


@example(text="aA\u0591")  # a mark that composes with no letter
@given(text=QUERIES | st.text(max_size=30))
def test_the_query_itself_passes_all_guards(text: str) -> None:
    """An echo is never rejected."""
    assert Guards(text, PRESERVED).violation(text) is None


@pytest.mark.parametrize("preserved", ["numbers", "quoted", "capitalised"])
@given(query=QUERIES, before=QUERIES, after=QUERIES)
def test_more_words_lose_nothing(preserved: Preserved, query: str, before: str, after: str) -> None:
    """A candidate can have more words than the query."""
    assert preserves(query, f"{before} {query} {after}", preserved)


@given(QUERIES, QUERIES, QUERIES)
def test_what_is_kept_twice_is_kept(first: str, second: str, third: str) -> None:
    """The guard on numbers is transitive."""
    if preserves(first, second, "numbers") and preserves(second, third, "numbers"):
        assert preserves(first, third, "numbers")


ZAPPA = ("Frank Zappa was born in 1940", "Which band did he not leave?", "The Mothers of Invention")


@pytest.mark.parametrize(
    ("query", "candidate", "violation"),
    [
        ("when did they disband?", "when did The Mothers of Invention disband?", None),
        ("when did they disband?", "when did Frank Zappa disband The Mothers?", None),
        ("when did they disband?", "when did the beatles disband?", "content"),
        ("when did they disband?", "when did Frank Zappa sing?", "rare"),
        ("how old was he in 1970?", "how old was Frank Zappa in 1970?", None),
        ("how old was he in 1970?", "how old was Frank Zappa in 1940?", "numbers"),
        ("how old was he?", "how old was Frank Zappa, born 1940?", None),
        ("how old was he?", "how old was Frank Zappa, born 1941?", "content"),
        ("which one did he leave?", "which band did Frank Zappa leave?", None),
        ("which one did he leave?", "which band did Frank Zappa not leave?", None),
        ("which one did he leave?", "which band did Frank Zappa not ever not leave?", "negation"),
        ("which one did he not leave?", "which band did Frank Zappa leave?", "negation"),
    ],
)
def test_candidates_may_have_what_earlier_turns_say(
    query: str, candidate: str, violation: str | None
) -> None:
    """They keep what the query has, and add nothing that nobody said."""
    preserve: list[Preserved] = ["numbers", "negation", "content", "rare"]
    assert Guards(query, preserve, history=ZAPPA).violation(candidate) == violation
    if violation is None:  # without the turns nobody said it
        assert Guards(query, preserve).violation(candidate) is not None


def test_lists_may_have_what_earlier_turns_say() -> None:
    """As single queries may."""
    pieces = ["frank zappa albums", "mothers of invention albums"]
    preserve: list[Preserved] = ["content", "negation"]
    assert ListGuards("albums", preserve, history=ZAPPA).violation(pieces) is None
    assert ListGuards("albums", preserve).violation(pieces) == "content"
