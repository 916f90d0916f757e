"""Ways to ask the same: what the guard on content takes for equal, and what not."""

from __future__ import annotations

import pytest

from t5serve.reformulation.english import English
from t5serve.reformulation.guards.analysed_text import AnalysedText
from t5serve.reformulation.guards.guards import preserves
from t5serve.reformulation.guards.wordings import plainly

SAME = [
    ("What is the main use of a lathe?", "Can you tell me what the main use of a lathe is?"),
    ("What are the ABC's of spiders?", "List the ABC's of spiders."),
    ("Tell me about the Firebase DB.", "What can you tell me about the Firebase DB?"),
    ("I need a hotel near Gatwick", "I am looking for a hotel near Gatwick"),
    ("recommend some books like dune", "can you recommend some books like dune"),
    ("How is scrapie diagnosed?", "In what way is scrapie diagnosed?"),
    ("How do I change the oil?", "What do I need to do to change the oil?"),
    ("how many states are in india", "what is the number of states in india"),
    ("why did the war of 1812 start", "for what reason did the war of 1812 start"),
    ("where is cianjur located", "what is the location of cianjur"),
    ("where can i buy stamps", "in what place can i purchase stamps"),
    ("when did the pixel 6a come out", "what was the release date of the pixel 6a"),
    ("when does the next film come out", "when will the next film be released"),
    ("what year did the war begin", "when did the war start"),
    ("Who wrote Dune?", "Who is the author of Dune?"),
    ("who painted the ceiling", "by whom was the ceiling painted"),
    ("who owns shell", "which person owns shell"),
    ("who plays the doctor in wonder woman", "which actor plays the doctor in wonder woman"),
    ("How old is the tower?", "What is the age of the tower?"),
    ("how much does a ford focus weigh", "what is the weight of a ford focus"),
    ("How many people live in Ghent?", "What is the population of Ghent?"),
    ("What does GNI mean?", "What is the definition of GNI?"),
    ("what causes mumps", "what is the cause of mumps"),
    ("Can I freeze rice?", "Is it possible to freeze rice?"),
    ("Should I repair my router?", "Is it advisable to repair my router?"),
    ("Is it true that bats see?", "Is it correct that bats see?"),
    (
        "Which is deeper, the Kara Sea or the Black Sea?",
        "Which of the Kara Sea and the Black Sea is deeper?",
    ),
    (
        "which was founded first, ajax or celtic",
        "between ajax and celtic, which one was founded first",
    ),
    ("How do the areas of Peru and Chad compare?", "Compare the areas of Peru and Chad."),
    ("What is the difference between ale and beer?", "How do ale and beer differ?"),
    ("what's the difference between ale and beer", "what distinguishes ale from beer"),
    ("Is the V8 battery the same as the V10 one?", "Is the V8 battery identical to the V10 one?"),
    ("how do i get rid of ants", "how can i remove ants"),
    ("how long is a whale shark", "what is the length of a whale shark"),
    ("what are the types of yoga", "what are the various kinds of yoga"),
    ("what are the primary causes of acne", "what are the main causes of acne"),
]
OTHER = [
    ("What is the best API for flights?", "Can you tell me what the best for flights is?"),
    ("what is the average age of officers", "how old are officers"),
    ("Which glacier is the longest, A or B?", "What is the length of A and B?"),
    ("which sea is deeper, kara or black", "compare the depths of kara and black"),
    ("should i stretch before running", "do i stretch before running"),
    ("why did the war start", "when did the war start"),
    ("who painted the ceiling", "who built the ceiling"),
    ("who wrote dune", "who is the director of dune"),
    ("where is cianjur", "how old is cianjur"),
    ("can i freeze rice", "should i freeze rice"),
    ("what happens if i take too much", "what causes too much"),
    ("how many states are in india", "how old are states in india"),
    ("definately vs certainly", "definition of definately vs certainly"),
    ("when will the film be released", "when was the film released"),
    ("how long is a whale shark", "how long does a whale shark"),
    ("hotel cost in oslo", "expensive hotel in oslo"),
    ("import duty on watches", "significant duty on watches"),
    ("parking permit london", "parking allowed london"),
    ("medicare advantage plans", "medicare benefit plans"),
    ("how to pick a lock", "how to choose a lock"),
    ("sort a list in python", "type a list in python"),
    ("primary key sql", "main key sql"),
    ("how much is 100 dollars in euros", "what is the price of 100 dollars in euros"),
    ("diseases smoking causes", "what causes smoking diseases"),
    ("are cats similar to dogs", "do cats like dogs"),
    ("who was the owner of twitter", "who is the owner of twitter"),
    ("how old was the queen", "how old is the queen"),
    ("what was the date of the election", "what is the date of the election"),
    ("is it safe to take different antibiotics", "is it safe to take antibiotics"),
    ("where was otzi found", "where was otzi"),
    ("which countries border france or spain", "which countries border france and spain"),
    ("on what day does the shop open", "at what time does the shop open"),
    ("libreoffice writer", "who wrote libreoffice"),
    ("what is a product owner", "who owns a product"),
    ("when did ellen come out", "when was ellen released"),
    ("is it possible to steal wifi", "is it ok to steal wifi"),
    ("what is the number of microsoft support", "how many microsoft support"),
    ("how many people are in bts", "what is the population of bts"),
    ("blade runner 2049", "blade runner in 2049"),
    ("name a star after someone", "a star after someone"),
    ("usa today crossword", "usa currently crossword"),
    ("most concerning symptoms of covid", "most symptoms of covid"),
    ("Is this an important town?", "Is this an significant town?"),
    ("between tin and iron, which is denser", "which of tin and iron, which is denser"),
]


@pytest.mark.parametrize(("query", "candidate"), SAME)
def test_the_same_question_in_another_form_passes(query: str, candidate: str) -> None:
    """In both directions: a way to ask has no other direction than the question."""
    assert preserves(query, candidate, "content")
    assert preserves(candidate, query, "content")


@pytest.mark.parametrize(("query", "candidate"), OTHER)
def test_another_question_does_not_pass(query: str, candidate: str) -> None:
    """However much it looks like a way to ask."""
    assert not preserves(query, candidate, "content")


@pytest.mark.parametrize("text", [text for pair in SAME for text in pair])
def test_plain_wordings_are_plain(text: str) -> None:
    """A second time nothing changes."""
    plain = plainly(AnalysedText(text, English.load()))
    assert plainly(plain).words == plain.words


def test_each_turn_of_a_conversation_is_a_text_of_its_own() -> None:
    """Rules for the beginning of a text hold for the beginning of a turn."""
    text = AnalysedText("who is Frank Zappa\nhow old was he", English.load())
    assert " ".join(plainly(text).words) == "who is frank zappa what is the age of he"
