"""Rows on their way to a student: screened, grouped, varied, cut into pieces, and counted."""

import random
from pathlib import Path

import pytest

from t5train import clean_text, composer, forms, mixture, progress, vocabulary
from t5train.mixture import Mixture, Variation
from t5train.pairs import Pair
from t5train.screening import find_fault
from t5train.searches import SEPARATOR, Row
from t5train.shards import Written
from t5train.swap import Swapper
from t5train.vocabulary import UNK, Vocabulary

TEXT = [f"which river is longer, the {name} or the Nile?" for name in ("Rhine", "Seine", "Po")]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    directory = tmp_path_factory.mktemp("vocabulary")
    path = vocabulary.train(TEXT * 20, 400, directory, byte_fallback=True, marks=[";"])
    return Vocabulary(path)


def written(source: str, *targets: str, task: str = "search", logprob: float = -0.1) -> Written:
    return Written(task, source, targets, "own", 0, 10 * logprob, 10, is_ended=True)


@pytest.mark.parametrize(
    "row",
    [
        written("Which is longer, the Rhine or the Nile?", "Rhine length", "Nile length"),
        written("how many people does amazon employ", "amazon number of people employed"),
        written("who is our supplier for mesh routers", "mesh routers supplier"),
        written("rust 1.75 error E0382", "rust 1.75 error E0382"),
        written("oslo weather", "What is the weather in oslo?", task="question"),
        written("how do i cook rice", "how can i cook rice", task="paraphrase"),
    ],
)
def test_an_answer_that_keeps_what_was_asked_may_teach(row: Written) -> None:
    assert find_fault(row) is None


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (written("films without dubbing", "films dubbing"), "negation"),
        (written("700 grams of rice calories", "rice calories"), "numbers"),
        (written("what does tolnaftate treat", "tonafate treatment"), "rare"),
        (written("Is Oslo bigger than Bergen?", "Oslo size", "bigger size"), "capitalised"),
        (written("what do people in fiji speak at home", "fiji weather"), "content lost"),
        (written("cheap cheap flights", "cheap cheap flights"), "stutter"),
        (written("it runs here, not on the server", "runs server not server"), "stutter"),
        (written("arguments against image search", "image search arguments"), "direction lost"),
        (written("what did the rand corporation do", "what rand corporation"), "verb lost"),
        (written("rhine length", "Rhine length", "rhine length"), "repeated"),
        (written("river part of country", "rhine river", "river country"), "chain"),
        (written("rhine length", "rhine length", logprob=-0.5), "unlikely"),
        (written("rhine length", "rhine length")._replace(is_ended=False), "not ended"),
        (written("Rhine length?", "rhine length"), "held out"),
        (written("how do i cook rice", "How do I cook rice?", task="paraphrase"), "copy"),
        (written("oslo weather", "weather in oslo", task="question"), "no question"),
    ],
)
def test_an_answer_with_a_fault_does_not_teach(row: Written, fault: str) -> None:
    held_out = {"rhine length"} if fault == "held out" else frozenset[str]()
    assert find_fault(row, held_out) == fault


def test_rows_are_grouped_by_task_and_origin_and_keywords_are_one_group() -> None:
    rows = [
        Row("search", "rhine or nile", ("rhine length", "nile length"), "comparisons"),
        Row("search", "nile length", ("nile length",), "comparisons/keywords"),
        Row("search", "oslo", ("oslo",), "keywords"),
        Row("search", "is oslo big", ("oslo size",), "teacher/asks"),
        Row("question", "oslo size", ("How big is Oslo?",), "attributes"),
    ]
    groups = mixture.group_rows(rows)
    assert {name: len(pairs) for name, pairs in groups.items()} == {
        "search/comparisons": 1,
        "search/keywords": 2,
        "search/teacher": 1,
        "question/attributes": 1,
    }
    assert groups["search/comparisons"] == [
        Pair("search", "rhine or nile", f"rhine length{SEPARATOR}nile length")
    ]
    shares = dict.fromkeys(groups, 1.0) | {"mend": 1.0}
    assert mixture.trained_tasks(shares) == {"search", "question", "fix"}


def test_the_mark_is_one_piece_and_any_script_can_be_copied(words: Vocabulary) -> None:
    text = f"Rhine{SEPARATOR}Nile"
    pieces = [words.piece(index) for index in words.encode(text)]
    assert "▁;" in pieces
    for copied in (text, "c++ $200 {x|y}", "北京 weather", "Māori", "👍"):
        ids = words.encode(copied)
        assert UNK not in ids
        assert words.decode(ids) == copied


def test_pairs_are_varied_on_both_sides(words: Vocabulary) -> None:
    groups = {"search/own": [Pair("search", "Is the Nile longer?", "Nile length")]}
    variation = Variation(lowercase_share=0.5, sampled_share=0.5)
    drawn = Mixture(groups, [], words, random.Random(1), variation=variation)
    examples = [drawn.draw({"search/own": 1}) for _ in range(60)]
    texts = {(words.decode(source), words.decode(target)) for source, target in examples}
    assert texts == {
        ("search: Is the Nile longer?", "Nile length"),
        ("search: is the nile longer?", "nile length"),
    }
    assert len({tuple(source) for source, _ in examples}) > 2


def test_a_long_pair_of_few_bytes_is_not_left_out(words: Vocabulary) -> None:
    pair = Pair("search", "🙂" * 20, "nile")
    assert Mixture({"a": [pair]}, [], words, random.Random(1), max_tokens=64).left_out == 1
    short = Mixture({"a": [pair]}, [], words, random.Random(1), max_tokens=99)
    assert short.left_out == 0


def test_codes_keep_their_shape_when_they_are_exchanged() -> None:
    swapper = Swapper(["part da29-00020b"], random.Random(2), frozenset(["part", "part"]))
    pair = Pair("search", "I need part da29-00020b", "part da29-00020b")
    swapped = {swapper.swap(pair) for _ in range(80)}
    assert len(swapped) > 10
    for _, source, target in swapped:
        code = target.removeprefix("part ")
        assert source == f"I need part {code}"
        shape = "".join("9" if c.isdigit() else "x" if c.isalpha() else c for c in code)
        assert shape == "xx99-99999x"


def test_only_known_words_are_mistyped_and_in_their_case() -> None:
    typist = forms.Misspellings([("wether", "weather")], ["weather", "people"])
    assert [typist.can_mistype(word) for word in ("weather", "People", "flumph", "NASA")] == [
        *(True, True, False, False)
    ]
    rng = random.Random(0)
    made = {typist("Weather", rng) for _ in range(60)}
    assert "Wether" in made
    assert all(word[0].isupper() or word[1].isupper() for word in made if len(word) > 5)


def test_clean_texts_are_definitions_uses_and_well_spelt_rows(tmp_path: Path) -> None:
    line = '00000001 03 n 01 x 0 000 | (rare) a small river; "the stream was cold"; flows\n'
    for name in clean_text.PARTS:
        (tmp_path / name).write_text(f"  1 a licence | of words\n{line}", encoding="utf-8")
    assert set(clean_text.read_glosses(tmp_path)) == {"a small river", "the stream was cold"}
    rows = [Row("search", "how lnog is the rhine", ("rhine length",), "own")]
    assert list(clean_text.list_clean(rows, frozenset({"rhine", "length"}))) == ["rhine length"]


def test_pieces_are_learnt_from_as_many_rows_of_each_origin() -> None:
    rows = [Row("search", f"a{n}", (f"b{n}",), "big") for n in range(9)]
    rows.append(Row("search", "c", ("d", "e"), "small"))
    texts = list(clean_text.balance(rows, 2, random.Random(0)))
    assert len(texts) == 6
    assert {"search: c", "d ; e"} <= set(texts)
    assert list(
        clean_text.repeat_by_frequency([("the", 7.7), ("rhine", 2.5), ("flumph", 0.1)])
    ) == (["the"] * clean_text.MOST_REPEATED + ["rhine"] * 3 + ["flumph"])


def test_progress_counts_what_answers_hit_and_keep() -> None:
    rows = [
        Row("search", "Rhine or Nile longer?", ("Rhine length", "Nile length"), "own/x"),
        Row("search", "films without 3 ads", ("films without 3 ads",), "own"),
    ]
    answers = [progress.split("nile length ; Rhine area ;"), progress.split("films 2 ads")]
    first, second = progress.summarise(rows, answers)["search"]
    assert (first.is_exact, first.found, first.lost) == (False, 0.5, ())
    assert {"numbers", "negation"} <= set(second.lost)
    assert progress.score(rows[1], ["films without 3 ads"]).is_copy
    lines = list(progress.table(progress.summarise(rows, answers)))
    assert [line.split()[0] for line in lines[1:]] == ["search", "search", "search"]


def test_names_are_exchanged_for_names_in_other_scripts_too() -> None:
    swapper = Swapper(
        ["weather in Москва", "東京 map"] * 30, random.Random(2), frozenset(["weather"])
    )
    pair = Pair("search", "weather in Oslo", "Oslo weather")
    swapped = {swapper.swap(pair) for _ in range(200)}
    assert Pair("search", "weather in Москва", "Москва weather") in swapped
    back = {swapper.swap(Pair("search", "in Москва", "Москва")).target for _ in range(600)}
    assert len(back) > 1


def test_labelled_requests_are_never_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "requests.tsv"
    path.write_text("source\trequest\nown\tIs Oslo big?\n", encoding="utf-8")
    labelled = composer.read_labelled([path])
    rows = [Row("search", text, ("oslo size",), "own") for text in ("is oslo big", "how big")]
    assert composer.without_held(rows, [], labelled) == rows[1:]
    assert len(composer.read_labelled()) == 200 + 240
