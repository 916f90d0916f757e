"""Comparisons by a trait: WordNet says that accurate is a value of accuracy."""

from __future__ import annotations

from collections.abc import Iterator

from t5train.grammar import Template
from t5train.wordnet import WordNet

# What can be more so than another of its kind. The attribute's name is WordNet's.
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
    "(Which|What) is (1:more|less) {adjective}, {{{kind}}} or {{{kind}2}}?",
    "(Do you think that|Is it true that) {{{kind}}} is more {adjective} than {{{kind}2}}?",
    "Which of {{{kind}}}, {{{kind}2}} and {{{kind}3}} is the (1:most|least) {adjective}?",
    "How {adjective} is {{{kind}}} compared (to|with) {{{kind}2}}?",
    "Between {{{kind}}} and {{{kind}2}}, which is (1:more|less) {adjective}?",
)
PERSON_WORDINGS = (
    "(Who (was|is)|Which of the two was) (1:more|less) {adjective}, {{{kind}}} or {{{kind}2}}?",
    "Was {{{kind}}} (1:more|less) {adjective} than {{{kind}2}}?",
    "How {adjective} was {{{kind}}} compared (to|with) {{{kind}2}}?",
)


def templates(wordnet: WordNet) -> Iterator[Template]:
    """A template for each trait, kind and wording."""
    attributes = wordnet.attributes()
    for adjective, kinds in TRAITS.items():
        if adjective not in attributes:
            continue
        noun = attributes[adjective][0]
        noun = BETTER.get(noun, noun)
        for kind in kinds:
            for wording in PERSON_WORDINGS if kind == "person" else WORDINGS:
                source = wording.format(adjective=adjective, kind=kind)
                slots = [f"{{{kind}}}", f"{{{kind}2}}", f"{{{kind}3}}"]
                targets = tuple(f"{slot} {noun}" for slot in slots if slot in source)
                yield Template(source, targets)
