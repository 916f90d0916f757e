"""From public sets to training files, and from those to token ids."""

import importlib.util
import json
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from t5train import mixture, pairs, plot, sources, typed_questions, vocabulary
from t5train.dataset import Dataset
from t5train.mixture import Mixture
from t5train.pairs import Pair, PairsError
from t5train.schedule import Schedule
from t5train.swap import Swapper
from t5train.vocabulary import EOS, UNK, Vocabulary
from t5train.words import normal

CITIES = ("Rome", "May")
TEXT = [f"how to cook {thing} in {city}?" for thing in ("rice", "tea") for city in CITIES]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return Vocabulary(vocabulary.train(TEXT * 20, 200, tmp_path_factory.mktemp("vocabulary")))


def test_pairs_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    assert pairs.write(path, [Pair("fix", "a\tb  c", 'say "d"'), Pair("", "e", "f")]) == 2
    assert list(pairs.read(path)) == [("fix", "a b c", 'say "d"'), ("", "e", "f")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\tb\n", "first line"),
        (b"task\tsource\ttarget\nfix\tx\n", ":2: expected"),
        (b"task\tsource\ttarget\nfix\tcaf\xe9\tcoffee\n", r"pairs\.tsv is not UTF-8"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(text)
    with pytest.raises(PairsError, match=message):
        list(pairs.read(path))


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("task\tsource\ttarget\r\nfix\ta\tb\r\n", encoding="utf-8-sig", newline="")
    assert list(pairs.read(path)) == [("fix", "a", "b")]
    path.write_text("a\r\n", encoding="utf-8-sig", newline="")
    assert pairs.read_text(path) == ["a"]


def test_what_is_held_out_is_never_trained_on(tmp_path: Path) -> None:
    dataset = Dataset(random.Random(0))
    dataset.hold_out("held", [Pair("fix", "cokc rice", "Cook rice?")])
    dataset.add_pair("set", Pair("fix", "cook riec", "cook rice"))
    dataset.add_pair("set", Pair("fix", "teaa", "tea"))
    dataset.add_pair("set", Pair("fix", "teaa", "tea"))
    dataset.add_pair("set", Pair("fix", "bad", "pair"), "ill-formed")
    dataset.add_texts("set", ["cook, rice", "tea"])
    dataset.write(tmp_path)
    assert list(pairs.read(tmp_path / "train.tsv")) == [("fix", "teaa", "tea")]
    assert pairs.read_text(tmp_path / "text.txt") == ["tea"]
    assert "held out 1, ill-formed 1, seen before 1" in "\n".join(dataset.report())


def test_quotation_marks_of_the_file_are_not_the_questions(tmp_path: Path) -> None:
    path = tmp_path / "quora.tsv"
    path.write_text('"Who is ""Q"", then?"\tWho is "Q"?\nWhat?\t\n', encoding="utf-8")
    assert list(sources.read_quora(path)) == [('Who is "Q", then?', 'Who is "Q"?')]


def test_each_text_is_paired_with_those_that_follow() -> None:
    texts = list(sources.pair_with_next(["a", "b", "a", "c", "d"], 2))
    assert texts == [tuple(pair) for pair in ("ab", "ac", "bc", "bd", "cd", "ca", "da", "db")]
    assert list(sources.pair_with_next(["a", "b"], 3)) == [("a", "b"), ("b", "a")]
    assert not list(sources.pair_with_next(["a"], 3))


def test_a_query_is_drawn_once_whatever_its_case() -> None:
    dataset = Dataset(random.Random(0))
    drawn = [dataset.draw(f"query {number}", 0.5) for number in range(40)]
    assert drawn == [dataset.draw(f"Query, {number}?", 0.5) for number in range(40)]
    assert 5 < sum(drawn) < 35


def test_the_prepared_files_share_no_query_between_training_and_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    _public_sets(data)
    monkeypatch.setattr(sys, "argv", ["prepare.py", str(data), "--out", str(out), "--words", "0"])
    with caplog.at_level("INFO"):
        assert _script("prepare").main() == 0
    assert "quora" in caplog.text
    train = list(pairs.read(out / "train.tsv"))
    held_out = [pair for path in (out / "heldout").iterdir() for pair in pairs.read(path)]
    texts = {normal(text) for pair in held_out for text in pair[1:]}
    assert {pair.task for pair in train} == {"paraphrase", "fix", "expand"}
    assert not texts & {normal(text) for pair in train for text in pair[1:]}
    assert not texts & {normal(line) for line in pairs.read_text(out / "text.txt")}
    assert {path.stem for path in (out / "heldout").iterdir()} >= {"quora-test", "mqr", "typos"}


def test_digits_stand_alone_and_all_of_ascii_is_known(words: Vocabulary) -> None:
    ids = words.encode("2016")
    assert [words.piece(index) for index in ids] == ["▁", "2", "0", "1", "6", "</s>"]
    assert UNK not in words.encode("~{|}^ AZ@ az #_`")
    assert words.decode([*words.encode("cook rice"), 7, 8]) == "cook rice"
    assert words.decode([len(words) + 3, *words.encode("rice")]) == "rice"


def test_examples_come_in_their_shares(words: Vocabulary) -> None:
    train = [Pair("fix", "riec", "rice"), Pair("expand", "tea", "how to cook tea")]
    drawn = Mixture(mixture.group_by_task(train), TEXT, words, random.Random(0))
    targets = Counter(
        words.decode(drawn.draw({"fix": 3, "expand": 1, "denoise": 0}).target) for _ in range(400)
    )
    assert 250 < targets["rice"] < 350
    assert targets["rice"] + targets["how to cook tea"] == 400


@pytest.mark.parametrize("name", mixture.FROM_TEXT)
def test_text_becomes_examples_whose_target_is_clean(words: Vocabulary, name: str) -> None:
    drawn = Mixture({}, TEXT, words, random.Random(0))
    for _ in range(20):
        example = drawn.draw({name: 1})
        assert words.decode(example.target).lower() in " / ".join(TEXT).lower()
        assert len(example.target) > 1
        assert example.source[-1] == example.target[-1] == EOS


def test_a_text_is_cut_into_other_pieces_each_time(words: Vocabulary) -> None:
    text = "how it came to look more like a trick"
    sampled = {tuple(words.sample(text)) for _ in range(60)}
    assert len(sampled) > 1
    assert {words.decode(ids) for ids in sampled} == {text}


def test_a_question_without_its_form_is_given_it_back(words: Vocabulary) -> None:
    drawn = Mixture({}, ["Why is it so?", "rice"], words, random.Random(0))
    examples = [drawn.draw({"form": 1}) for _ in range(60)]
    assert {words.decode(example.target) for example in examples} == {"Why is it so?"}
    sources = {words.decode(example.source).removeprefix("fix: ") for example in examples}
    assert sources >= {"Why it is so?", "Why is it so", "It so"}
    assert not any(source.islower() for source in sources)


def test_unknown_words_are_to_be_kept(words: Vocabulary) -> None:
    drawn = Mixture({}, TEXT, words, random.Random(0), swap_share=1)
    known = {word for line in TEXT for word in normal(line).split()}
    coined = set()
    for _ in range(60):
        source, target = map(words.decode, drawn.draw({"keep": 1}))
        assert source == f"fix: {target}"
        coined |= set(normal(target).split()) - known
    assert len(coined) > 5


def test_too_long_examples_are_left_out(words: Vocabulary) -> None:
    train = [Pair("fix", "rice " * 50, "rice"), Pair("fix", "tea", "tea")]
    drawn = Mixture(mixture.group_by_task(train), [], words, random.Random(0), max_tokens=40)
    assert {words.decode(drawn.draw({"fix": 1}).target) for _ in range(20)} == {"tea"}
    assert drawn.left_out == 1
    endless = Mixture({}, ["rice " * 50], words, random.Random(0), max_tokens=40)
    with pytest.raises(ValueError, match="short enough"):
        endless.draw({"keep": 1})


def test_a_share_of_what_is_not_there_is_refused(words: Vocabulary) -> None:
    drawn = Mixture({}, [], words, random.Random(0))
    with pytest.raises(ValueError, match="no pairs of the task 'fix'"):
        drawn.check({"fix": 1})
    with pytest.raises(ValueError, match="'mend' needs text"):
        drawn.check({"mend": 1, "fix": 0})
    with pytest.raises(ValueError, match="question mark"):
        Mixture({}, ["tea"], words, random.Random(0)).check({"form": 1})
    Mixture({}, TEXT, words, random.Random(0)).check({"form": 1, "mend": 2, "fix": 0})


def test_shares_are_parsed() -> None:
    assert mixture.parse_shares("fix=2, mend=0.5") == {"fix": 2.0, "mend": 0.5}
    for wrong in ("", "fix", "fix=-1", "fix=0"):
        with pytest.raises(ValueError, match=r"shares|float"):
            mixture.parse_shares(wrong)


def test_the_rate_warms_up_holds_and_falls() -> None:
    schedule = Schedule(steps=1000, warmup=9, hold=0.5, floor=0.01)
    rates = []
    while schedule.progress < 1:
        rates.append(schedule.factor)
        schedule.tick(0.1)
    assert rates[:9] == pytest.approx([(step + 1) / 10 for step in range(9)])
    assert set(rates[9:500]) == {1.0}
    assert rates[750] == pytest.approx(0.505)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)


def test_a_pause_does_not_count_as_training() -> None:
    schedule = Schedule(minutes=10)
    for seconds in (30.0, 40.0, 30.0):  # slow steps are no pauses
        schedule.tick(seconds)
    assert schedule.seconds == 100
    schedule.tick(3600)
    assert 250 < schedule.seconds < 260  # as five steps


def test_steps_that_have_become_slow_count_as_what_they_take() -> None:
    """Beside other work for hours, say, or after a first batch of short ones."""
    schedule = Schedule(minutes=1000)
    schedule.tick(1)
    for _ in range(1000):
        schedule.tick(12)
    assert schedule.seconds == pytest.approx(12_001, rel=0.01)


def test_questions_as_people_type_them() -> None:
    source, target = "How do I learn the guitar?", "What is the best way to learn guitar?"
    assert typed_questions.lowercase(target) == "what is the best way to learn guitar"
    assert typed_questions.shorten(source) == "learn the guitar"
    assert typed_questions.shorten(target) == "best way to learn guitar"
    assert typed_questions.shorten("Whatsapp or Signal?") == "whatsapp or signal"
    rng = random.Random(0)
    variants = [tuple(typed_questions.draw_variants(source, target, rng)) for _ in range(400)]
    assert {pair for drawn in variants for pair in drawn} == {
        ("how do i learn the guitar", "what is the best way to learn guitar"),
        ("learn the guitar", "what is the best way to learn guitar"),
        ("learn the guitar", "best way to learn guitar"),
        ("learn guitar", "what is the best way to learn guitar"),
        ("learn guitar", "best way to learn guitar"),
    }
    assert 30 < sum(not drawn for drawn in variants) < 90


def test_a_history_is_read_as_curves(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    rows = [{"step": 5, "minutes": 1.0, "train": 3.0}, {"step": 9, "minutes": 2.0, "train": 2.0}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert plot.read_curves(path) == {"train": [(1.0, 3.0), (2.0, 2.0)]}


def _script(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _public_sets(data: Path) -> None:
    """Files of the sets' forms, with made-up texts."""
    things = ("rice", "beans", "corn", "tea", "soup", "bread", "cake", "pasta", "kale", "fish")

    def put(name: str, text: str) -> None:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(text, encoding="utf-8")

    def questions(city: str) -> str:
        form = "How do I cook {0} in {1}?\tWhat is a good way to make {0} in {1}?\n"
        return "".join(form.format(thing, city) for thing in things)

    for split, city in (("train", "Rome"), ("valid", "Oslo"), ("test", "Lima")):
        put(f"quora/{split}.tsv", questions(city))
    rated = "What is the way to cook {0} ?\t1.0\n{0} cook what\t0.0\n"
    for split in ("train", "dev"):
        put(f"wellformedness/{split}.tsv", "".join(rated.format(thing) for thing in things))
    put("mqr/dev.tsv", "a\tb\tc\tID\till formed\twell formed\tcategory\n0\t1\t2\t3\tx\tWhat?\tall")
    clean = [f"treatment of old {thing} {n}" for thing in things for n in range(5)]
    put("typos/queries.dev.small.tsv", "".join(f"{n}\t{q}\n" for n, q in enumerate(clean)))
    rows = (f"{number}\t{query.replace('treat', 'taert')}\n" for number, query in enumerate(clean))
    put("typos/queries.dev.small.typo1.tsv", "".join(rows))
    disfluent = {
        thing: {"disfluent": f"Who no what is {thing}?", "original": f"What is {thing}?"}
        for thing in things
    }
    put("disfl-qa/train.json", json.dumps(disfluent))
    put("disfl-qa/dev.json", "{}")
    searches = (
        {"query": f"Which is older, {thing} or wine?", "subqueries": f"{thing} age|wine age"}
        for thing in things
    )
    put("alexdong/full.jsonl", "\n".join(map(json.dumps, searches)))
    question = {"qas": [{"question": "When was soap made first?"}]}
    squad = json.dumps({"data": [{"paragraphs": [question]}]})
    for name in ("dev_orig", "dev_para", "adv_orig", "adv_para"):
        put(f"squad-paraphrase/{name}.json", squad)
    put("uqv/robust-uqv.txt", "301-1-1;organised crime\n301-2-1;crime of gangs\n")
    put(
        "trec-topics/topics.txt",
        "<top>\n<num> Number: 1\n<title> wild cats\n<desc> Description:\nWhere do wild cats live?\n"
        "<narr> Narrative:\nNone.\n</top>\n",
    )


def test_what_is_kept_is_the_text_itself_as_written_or_as_typed(words: Vocabulary) -> None:
    """Under the task that mends: most queries have nothing to mend."""
    drawn = Mixture({}, TEXT, words, random.Random(1))
    examples = [drawn.draw({"keep": 1}) for _ in range(40)]
    prefix = words.encode(pairs.prefix("fix"))[:-1]
    texts = {words.decode(target) for _, target in examples}
    small = {text.lower() for text in TEXT}
    assert texts <= set(TEXT) | small | {text.rstrip("?") for text in small}
    assert any(text != text.lower() for text in texts)
    assert any(text == text.lower() for text in texts)
    for source, target in examples:
        assert words.decode(source) == f"fix: {words.decode(target)}"
        assert source[: len(prefix)] == prefix


def test_swapped_pairs_have_the_same_other_words_on_both_sides() -> None:
    """Names, numbers and rare words that both share; nothing else changes."""
    texts = ["is Zürich in Europe", "was Rome built in 1 day", "a flumph", "what is the best"] * 2
    common = ["where does everybody live"] * 30
    swapper = Swapper([*texts, *common], random.Random(3))
    pair = Pair("paraphrase", "Where did Oslo go in 1999?", "In 1999 where did Oslo go?")
    seen = {swapper.swap(pair) for _ in range(50)}
    assert len(seen) > 5
    for _, source, target in seen:
        assert source.startswith("Where did ")
        assert set(normal(source).split()) == set(normal(target).split())
    kept = Pair("paraphrase", "where does everybody live", "where everybody does live")
    assert {swapper.swap(kept) for _ in range(20)} == {kept}
