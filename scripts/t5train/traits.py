"""Comparisons by a trait: WordNet says that accurate is a value of accuracy."""

from __future__ import annotations

from collections.abc import Iterator

from t5train.grammar import Template
from t5train.wordnet import WordNet

# What can be more so than another of its category. The attribute's name is WordNet's.
PERSON, PROGRAM, MATERIAL, PLACE = ("person",), ("software", "technology"), ("fabric",), ("city",)
TRAITS = {
    **dict.fromkeys(("ambitious", "brave", "creative", "generous", "intelligent"), PERSON),
    **dict.fromkeys(("honest", "loyal", "modest", "popular", "successful"), PERSON),
    **dict.fromkeys(("powerful", "original", "productive", "conservative"), PERSON),
    **dict.fromkeys(("accurate", "complex", "effective", "flexible", "modern"), PROGRAM),
    **dict.fromkeys(("practical", "secure", "stable", "useful"), PROGRAM),
    **dict.fromkeys(("comfortable", "elastic", "soft", "thick", "natural"), MATERIAL),
    **dict.fromkeys(("attractive", "beautiful", "clean", "friendly", "safe"), PLACE),
    **dict.fromkeys(("fertile", "prosperous", "humid", "dry"), ("country",)),
    **dict.fromkeys(("sweet", "bitter", "sour", "tasty", "fresh"), ("fruit", "drink")),
    **dict.fromkeys(("aggressive", "gregarious", "tame", "sociable"), ("mammal", "dog")),
}
# WordNet's nouns that say too much or too little, and what people search for.
BETTER = {
    "taste property": "taste",
    "taste": "taste",
    "handiness": "accessibility",
    "cleanness": "cleanliness",
    "wetness": "rainfall",
    "political orientation": "political views",
    "hardness": "softness",
    "sweetness": "sweetness",
    "animation": "liveliness",
}
WORDINGS = (
    "(Which|What) is (1:more|less) {adjective}, {{{name}}} or {{{name}2}}?",
    "(Do you think that|Is it true that) {{{name}}} is more {adjective} than {{{name}2}}?",
    "Which of {{{name}}}, {{{name}2}} and {{{name}3}} is the (1:most|least) {adjective}?",
    "How {adjective} is {{{name}}} compared (to|with) {{{name}2}}?",
    "Between {{{name}}} and {{{name}2}}, which is (1:more|less) {adjective}?",
)
PERSON_WORDINGS = (
    "(Who (was|is)|Which of the two was) (1:more|less) {adjective}, {{{name}}} or {{{name}2}}?",
    "Was {{{name}}} (1:more|less) {adjective} than {{{name}2}}?",
    "How {adjective} was {{{name}}} compared (to|with) {{{name}2}}?",
)


def templates(wordnet: WordNet) -> Iterator[Template]:
    """A template for each trait, category and wording."""
    attributes = wordnet.attributes()
    for adjective, categories in TRAITS.items():
        if adjective not in attributes:
            continue
        noun = attributes[adjective][0]
        noun = BETTER.get(noun, noun)
        for category in categories:
            for wording in PERSON_WORDINGS if category == "person" else WORDINGS:
                source = wording.format(adjective=adjective, name=category)
                slots = [f"{{{category}}}", f"{{{category}2}}", f"{{{category}3}}"]
                targets = tuple(f"{slot} {noun}" for slot in slots if slot in source)
                yield Template(source, targets)
