"""Cuts templates out of groups of wordings that share their searches.

alexdong/query-reformulation has five wordings a group. Where all searches of a group end in the
same words, those are an attribute (`height`), and what stands before them are names. A wording that
contains all of the names becomes a template, and the names are exchanged for others. A group whose
searches follow each other (`Peebles River Flows Through River`, `River Part Of Country`) is a walk
through an ontology and is left out.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from t5train.grammar import Template
from t5train.words import normal, numbers, words

LOST_MARK = "  "  # the set has two spaces where a name had a bracket or a comma
GRAMMAR = re.compile(r"[(){}|\t]")  # a template would read these as its own signs
STEM = 4  # letters by which populist and populism are one
MOST = 5  # searches of a request
# The attributes of the set that names can be exchanged for: how people write each, and what has it.
ATTRIBUTES = {
    "birth date": ("birth date", ("person",)),
    "death date": ("death date", ("person",)),
    "lifespan": ("lifespan", ("person", "mammal", "bird", "dog")),
    "age": ("age", ("person",)),
    "area": ("area", ("country", "lake", "island", "desert", "city")),
    "area km²": ("area", ("country", "lake", "island", "city")),
    "population": ("population", ("city", "country", "island")),
    "established": ("founding date", ("university", "company", "team")),
    "founded": ("founding date", ("company", "team", "university")),
    "foundation date": ("founding date", ("company", "university")),
    "origin": ("origin", ("sport", "dish")),
    "duration": ("duration", ("war",)),
    "start date": ("start date", ("war",)),
    "end date": ("end date", ("war",)),
    "height": ("height", ("mountain", "structure", "person")),
    "elevation": ("elevation", ("mountain", "city")),
    "depth": ("depth", ("lake", "sea")),
    "weight": ("weight", ("bird", "mammal", "fish", "car")),
    "salinity": ("salinity", ("sea",)),
    "latitude": ("latitude", ("city", "island")),
    "longitude": ("longitude", ("city", "island")),
    "release date": ("release date", ("film", "game", "phone")),
    "publication date": ("publication date", ("book",)),
    "temperature": ("temperature", ("city", "sea")),
    "density": ("density", ("element", "wood")),
    "wingspan": ("wingspan", ("bird",)),
    "length": ("length", ("river", "bridge", "film")),
    "number of seasons": ("number of seasons", ("series",)),
    "license": ("license", ("technology", "package")),
    "speakers": ("number of speakers", ()),
    "boiling point": ("boiling point", ("element",)),
    "discovery date": ("discovery date", ("element",)),
    "active years": ("active years", ("band",)),
    "formed": ("formation year", ("band",)),
    "time zone": ("time zone", ("city",)),
    "alcohol content": ("alcohol content", ("drink",)),
    "number of players": ("number of players", ("sport",)),
    "independence date": ("independence date", ("country",)),
    "capacity": ("capacity", ("car",)),
    "awards": ("awards", ("film", "person")),
}
# Words by which a wording says what it compares, and the category that they mean.
CATEGORY_WORDS = {
    **dict.fromkeys(("person", "people", "who", "whose", "individual", "artist"), "person"),
    **dict.fromkeys(("city", "cities", "town", "location", "place", "locations"), "city"),
    **dict.fromkeys(("country", "countries", "nation", "nations"), "country"),
    **dict.fromkeys(("university", "universities", "institution", "college"), "university"),
    **dict.fromkeys(("company", "companies", "organization", "firm"), "company"),
    **dict.fromkeys(("team", "club", "clubs", "teams"), "team"),
    **dict.fromkeys(("bird", "birds", "species"), "bird"),
    **dict.fromkeys(("animal", "animals", "mammal"), "mammal"),
    **dict.fromkeys(("film", "movie", "films", "movies"), "film"),
    **dict.fromkeys(("book", "novel", "books"), "book"),
    **dict.fromkeys(("mountain", "peak", "mountains"), "mountain"),
    **dict.fromkeys(("structure", "building", "tower", "buildings"), "structure"),
    **dict.fromkeys(("war", "conflict", "wars"), "war"),
    **{
        category: category
        for category in (
            "river",
            "lake",
            "island",
            "sea",
            "desert",
            "bridge",
            "band",
            "game",
            "element",
        )
    },
    **{
        f"{category}s": category
        for category in ("river", "lake", "island", "bridge", "band", "element")
    },
    **dict.fromkeys(
        """
        district districts park parks plate plates currency airline airport museum station
        harbour harbor era period region regions language languages lagoon glacier beach canal
        gallery ocean current mine revolution empire church party parties political earthquake
        runway program degree fabric material tectonic coin dollar religion agency sound fjord
        peninsula volcano crop gas planet tribe group groups subject field science discipline
        road highway railway train airlines seafood sheep breed act law treaty festival
        """.split(),  # noqa: SIM905 - a list would be a screen long
        "",
    ),
}


class Group(NamedTuple):
    """Wordings of one request, and the searches that answer each of them."""

    wordings: tuple[str, ...]
    searches: tuple[str, ...]


class Comparison(NamedTuple):
    """The names that a group compares, and the attribute by which."""

    names: tuple[str, ...]
    attribute: str


def read(path: Path) -> list[Group]:
    """The groups of the set's full.jsonl, with double spaces kept in the searches."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        groups[row["subqueries"]].append(" ".join(row["query"].split()))
    searches = (tuple(filter(None, map(str.strip, key.split("|")))) for key in groups)
    return [Group(tuple(texts), s) for texts, s in zip(groups.values(), searches, strict=True)]


def is_chain(searches: Sequence[str]) -> bool:
    """Whether a search ends with the words that the next one begins with."""
    pairs = itertools.pairwise(searches)
    return any(_overlap(left.lower().split(), right.lower().split()) for left, right in pairs)


def _overlap(left: list[str], right: list[str]) -> bool:
    longest = min(len(left), len(right))
    return any(left[-size:] == right[:size] for size in range(1, longest + 1))


def comparison(group: Group) -> Comparison | None:
    """The names and the attribute of a group, if its searches have one attribute.

    Of `Forth Bridge Height` and `Tay Bridge Height` the names are the bridges: the attribute that
    fits the most wordings is taken, and the shortest of several.
    """
    searches = [search.split() for search in group.searches]
    if len(searches) < 2 or any(LOST_MARK in search for search in group.searches):
        return None
    best: tuple[int, Comparison] | None = None
    for size in range(1, min(map(len, searches))):
        if len({" ".join(row[-size:]).lower() for row in searches}) > 1:
            break
        names = tuple(" ".join(row[:-size]) for row in searches)
        fitting = sum(_contains(wording, names) for wording in group.wordings)
        if fitting and len(set(names)) == len(names) and (best is None or fitting > best[0]):
            best = (fitting, Comparison(names, " ".join(searches[0][-size:]).lower()))
    return best[1] if best else None


def _contains(wording: str, names: Sequence[str]) -> bool:
    return all(_pattern(name).search(wording) for name in names)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?![\w'\u2019])", re.IGNORECASE)


def templates(group: Group) -> Iterator[Template]:
    """A template for each wording and each category of name that can take its names' place."""
    compared = comparison(group)
    if compared is None or compared.attribute not in ATTRIBUTES:
        return
    attribute, categories = ATTRIBUTES[compared.attribute]
    for wording in group.wordings:
        for category in categories:
            source = cut(wording, compared.names, category)
            if source and _suits(source, category):
                slots = range(1, len(compared.names) + 1)
                yield Template(source, tuple(f"{{{category}{slot}}} {attribute}" for slot in slots))


def cut(wording: str, names: Sequence[str], category: str) -> str | None:
    """The wording with a slot for each name; None if one is missing, double, or still there."""
    if GRAMMAR.search(wording):
        return None
    for number, name in sorted(enumerate(names, 1), key=lambda pair: -len(pair[1])):
        wording, count = _pattern(name).subn(f"{{{category}{number}}}", wording)
        if count != 1:
            return None
    without_slots = set(normal(re.sub(r"\{[^}]*\}", " ", wording)).split())
    parts = {word for name in names for word in normal(name).split() if len(word) > 3}
    if without_slots & parts or re.search(r"\b[Aa]n? \{", wording):
        return None
    return re.sub(r"\b[Tt]he \{", "{the ", wording)


def _suits(source: str, category: str) -> bool:
    """Whether a template says nothing of another category."""
    without_slots = re.sub(r"\{[^}]*\}", " ", source)
    meant = {
        CATEGORY_WORDS[word] for word in normal(without_slots).split() if word in CATEGORY_WORDS
    }
    return meant <= {category}


def grounded(group: Group) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The wordings of a group that name what its searches are about, with those searches.

    Searches that answer the question (`Tama River Tokyo` for "In which prefectures is the Tama
    River?") would teach a model to make up answers.
    """
    unusable = any(LOST_MARK in search or "(" in search for search in group.searches)
    if not 2 <= len(group.searches) <= MOST or unusable or is_chain(group.searches):
        return
    compared = comparison(group)
    for wording in group.wordings:
        searches = tuple(cased(search, wording) for search in group.searches)
        if compared and compared.attribute in ATTRIBUTES and _contains(wording, compared.names):
            attribute = ATTRIBUTES[compared.attribute][0]
            yield wording, tuple(f"{cased(name, wording)} {attribute}" for name in compared.names)
        elif all(_is_grounded(search, wording) for search in searches):
            yield wording, searches


def _is_grounded(search: str, wording: str) -> bool:
    stems = {word[:STEM] for word in normal(wording).split()}
    return numbers(search) <= numbers(wording) and all(
        word[:STEM] in stems for word in normal(search).split() if len(word) >= STEM
    )


def cased(search: str, wording: str) -> str:
    """A search with capitals where the wording has them; other words in small letters.

    Words that are capital within, such as DNA and GDP, stay as they are.
    """
    written = {word.lower(): word for word in words(wording)[1:]}
    return " ".join(
        written.get(word.lower(), word if word[1:] != word[1:].lower() else word.lower())
        for word in search.split()
    )
