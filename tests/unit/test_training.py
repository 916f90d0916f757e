"""Training itself, a few steps of it; runs where the `train` extra is installed."""

import importlib.util
import json
import random
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader

from support import tiny
from t5gguf import __main__ as converter
from t5train import asking, pairs, searches, vocabulary
from t5train.mixture import Example
from t5train.pairs import Pair
from t5train.searches import Row
from t5train.shards import Request
from t5train.vocabulary import Vocabulary

torch = pytest.importorskip("torch", reason="needs the train extra")
transformers = pytest.importorskip("transformers", reason="needs the train extra")

from t5train import t5_model, threads, training_state, word_vectors  # noqa: E402
from t5train.averaging import Average  # noqa: E402
from t5train.batches import collate, stream  # noqa: E402
from t5train.loss import compute_loss  # noqa: E402
from t5train.optimiser import ScaledAdam  # noqa: E402

THINGS = ("rice", "beans", "corn", "tea", "soup", "bread")
TRAIN = [Pair("fix", f"how to coook {thing}", f"how to cook {thing}") for thing in THINGS]
TINY = (
    *("--vocabulary", "150", "--d-model", "64", "--d-ff", "64", "--layers", "1"),
    *("--decoder-layers", "1", "--heads", "1", "--threads", "1", "--quiet", "--batch", "8"),
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    pairs.write(tmp_path / "train.tsv", TRAIN * 4)
    pairs.write(tmp_path / "valid.tsv", TRAIN[:2])
    pairs.write_text(tmp_path / "text.txt", [pair.target for pair in TRAIN])
    return tmp_path


def script(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train(files: Path, out: str, *options: str) -> Path:
    data = ("--pairs", str(files / "train.tsv"), "--valid", str(files / "valid.tsv"))
    shares = ("--text", str(files / "text.txt"), "--early", "mend=1,span=1", "--late", "fix=1")
    arguments = [*data, *shares, "--out", str(files / out), *TINY, *options]
    assert script("train").main(arguments) == 0
    return files / out


def history(directory: Path) -> list[dict[str, float]]:
    lines = (directory / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.filterwarnings("ignore")  # of torch and transformers, which pin each other
def test_a_short_training_learns_resumes_and_converts(
    files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From TSV to GGUF: the loss falls, a second call goes on, the converter takes the result."""
    pytest.importorskip("matplotlib", reason="needs the train extra")
    out = train(files, "run", "--steps", "30")
    state = training_state.load(out)
    assert state is not None
    caplog.set_level("INFO")
    assert train(files, "run", "--steps", "60") == out
    assert "resumed at step 30" in caplog.text
    first, second = history(out)
    assert (first["step"], second["step"]) == (30, 60)
    assert second["valid fix"] < first["valid fix"]
    assert (out / "loss.png").stat().st_size > 1000

    checkpoint = out / "checkpoint"
    words = Vocabulary(checkpoint / vocabulary.FILE)
    model = t5_model.load(checkpoint)
    assert model.config.vocab_size % t5_model.ROWS == 0

    queries = files / "text.txt"
    target = files / "model.gguf"
    command = (checkpoint, "--out", target, "--type", "Q8_0", "--quiet", "--queries", queries)
    assert converter.main(["convert", *map(str, command)]) == 0
    prefix = GGUFReader(target).get_field("t5serve.prefix.fix")
    assert prefix is not None
    assert prefix.contents() == "fix: "

    tokenizer = transformers.T5Tokenizer.from_pretrained(checkpoint)
    assert len(tokenizer) == len(words)
    text = "fix: how to coook tea 2016"
    assert tokenizer(text).input_ids == words.encode(text)

    tuned = train(files, "tuned", "--steps", "3", "--start", str(checkpoint))
    tuned_model = t5_model.load(tuned / "checkpoint")
    assert tuned_model.num_parameters() == model.num_parameters()
    assert (tuned / "checkpoint" / vocabulary.FILE).read_bytes() == words.path.read_bytes()

    served = train(files, "served", "--steps", "1", "--start", str(target))
    assert t5_model.load(served / "checkpoint").num_parameters() == model.num_parameters()

    requests = [Request("fix", pair.source, "set") for pair in TRAIN]
    asking.write(files / "requests.jsonl", requests)
    own = files / "own.jsonl"
    options = ("--requests", files / "requests.jsonl", "--out", own, "--beams", "2")
    assert script("reward").main([str(part) for part in (checkpoint, *options)]) == 0
    assert {row.source for row in searches.read(own)} <= {pair.source for pair in TRAIN}


@pytest.mark.filterwarnings("ignore")
def test_a_training_goes_on_where_it_ended(files: Path) -> None:
    """Weights, average, moments and step: of two steps and one more, as of three in a row."""
    out = train(files, "run", "--steps", "2")
    state = training_state.load(out)
    assert state is not None
    trainer = prepared(files, out)
    trainer.resume()
    assert trainer.schedule.step == 2
    for name, value in trainer.model.named_parameters():
        assert torch.equal(value, state["model"][name]), name
    for name, value in trainer.average.weights().items():
        assert torch.equal(value, state["average"]["weights"][name]), name
    moments = {name: trainer._optimiser.state[w] for name, w in trainer.model.named_parameters()}
    assert moments.keys() == state["moments"].keys()
    for name, saved in state["moments"].items():
        assert torch.equal(moments[name]["mean"], saved["mean"]), name
        assert moments[name]["step"] == saved["step"] == 2


@pytest.mark.filterwarnings("ignore")
def test_copies_of_a_training_are_averaged(files: Path) -> None:
    """Their weights, moments and checkpoint are the means; each has read rows in its own order."""
    run = train(files, "run", "--steps", "2")
    copy = Path(shutil.copytree(run, files / "copy"))
    states = []
    for directory, seed in ((run, "0"), (copy, "1")):
        train(files, directory.name, "--steps", "9", "--seed", seed)
        states.append(training_state.load(directory))
    before, other = (state["model"]["shared.weight"] for state in states if state is not None)
    assert not torch.equal(before, other)
    assert script("average").main([str(run), str(copy)]) == 0
    averaged = training_state.load(run)
    assert averaged is not None
    assert averaged["step"] == 9
    assert torch.allclose(averaged["model"]["shared.weight"], (before + other) / 2)
    exported = t5_model.load(run / "checkpoint").shared.weight
    assert torch.allclose(exported, averaged["average"]["weights"]["shared.weight"])


def test_what_is_no_copy_is_not_averaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written; the command says what differs."""
    for name, size in (("run", 2), ("copy", 3)):
        (tmp_path / name).mkdir()
        training_state.save(tmp_path / name, {"model": {"w": torch.zeros(size)}, "step": 1})
    saved = (tmp_path / "run" / training_state.FILE).read_bytes()
    assert script("average").main([str(tmp_path / "run"), str(tmp_path / "copy")]) == 2
    assert "their tensors differ" in capsys.readouterr().err
    assert script("average").main([str(tmp_path / "run"), str(tmp_path / "none")]) == 2
    assert (tmp_path / "run" / training_state.FILE).read_bytes() == saved


@pytest.mark.filterwarnings("ignore")
def test_rows_are_trained_on_in_sessions(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A session ends early with a checkpoint, and the next one goes on; shares go by origin."""
    pytest.importorskip("matplotlib", reason="needs the train extra")
    rows = [
        Row("search", f"is {one} or {other} cheaper", (f"{one} price", f"{other} price"), "own/x")
        for one in THINGS
        for other in THINGS
    ]
    searches.write(files / "rows.jsonl", [*rows, Row("search", "tea", ("tea",), "own/keywords")])
    out = files / "sessions"
    data = ("--rows", str(files / "rows.jsonl"), "--valid", str(files / "rows.jsonl"))
    session = ("--minutes", "9", "--session-minutes", "0.002", "--patience", "0", "--bytes")
    arguments = [*data, "--out", str(out), *session, *TINY, "--vocabulary", "400"]
    assert script("train").main(arguments) == 0
    state = training_state.load(out)
    assert state is not None
    steps = state["step"]
    assert 0 < steps < 1000
    config = json.loads((out / "checkpoint" / "config.json").read_text(encoding="utf-8"))
    assert config["t5serve_prefixes"] == {"search": "search: "}
    caplog.set_level("INFO")
    assert script("train").main(arguments) == 0
    assert f"resumed at step {steps}" in caplog.text
    assert json.loads((out / training_state.SUMMARY).read_text(encoding="utf-8"))["step"] > steps
    assert "valid search" in history(out)[-1]

    examples = files / "examples.txt"
    examples.write_text("is tea or rice cheaper\n", encoding="utf-8")
    command = [str(out / "checkpoint"), "--rows", str(files / "rows.jsonl"), "--count", "9"]
    assert script("progress").main([*command, "--examples", str(examples), "--show", "1"]) == 0
    assert "is tea or rice cheaper" in caplog.text
    assert "keep nega" in caplog.text  # a column of the table


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / training_state.FILE).write_bytes(b"not tensors")
    with pytest.raises(ValueError, match="is no training state"):
        training_state.load(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_gets_worse_ends_with_its_best_weights(files: Path) -> None:
    """The validation pairs contradict what is learnt, so the first validation is the best."""
    trainer = prepared(files, files / "worse", "--patience", "3")
    last = prepared(files, files / "worse", "--patience", "0")
    losses = iter([2.0, 3.0, 2.5, 4.0, 5.0])
    trainer._mean_loss = lambda _: next(losses)
    kept = None
    for _ in range(4):
        trainer.average.update(trainer.model)
        trainer.validate()
        with torch.no_grad():
            kept = kept or {n: v.clone() for n, v in trainer.average.weights().items()}
            trainer.model.shared.weight.add_(1.0)
        # Whatever the average has become since the best validation, when a state is saved.
        trainer.average.update(trainer.model)
        trainer.save()
        again = prepared(files, files / "worse", "--patience", "3")
        again.resume()
        for resumed in (trainer, again):
            assert all(torch.equal(value, kept[name]) for name, value in resumed.weights.items())
    assert trainer._is_stopped
    last.resume()
    assert not last._is_stopped
    assert last.weights is last.average.weights()


@pytest.mark.parametrize(
    ("tasks", "shares", "message"),
    [
        (["to keywords"], (), "'to keywords' must be a plain word"),
        (["spell"], (), "'spell' must have another name"),
        (["fix", "title"], ("--late", "fix=1"), "add title=1 to --late, or title=0"),
    ],
)
def test_a_task_that_cannot_be_trained_is_refused_at_once(
    files: Path,
    tasks: list[str],
    shares: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs.write(files / "odd.tsv", [Pair(task, "a", "b") for task in tasks])
    arguments = ["--pairs", str(files / "odd.tsv"), "--out", str(files / "odd"), "--steps", "1"]
    assert script("train").main([*arguments, *shares, *TINY]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_directory_with_another_training_is_not_gone_on_with(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="needs the train extra")
    out = train(files, "run", "--steps", "2")
    arguments = ["--pairs", str(files / "train.tsv"), "--out", str(out), "--steps", "3", *TINY]
    start = ["--start", str(out / "checkpoint")]
    assert script("train").main([*arguments, *start]) == 2
    assert "run has a training of a new model: choose another --out" in capsys.readouterr().err
    assert script("train").main([*arguments, "--d-ff", "128"]) == 2
    assert "run has a training of another shape" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_pairs_alone_are_trained_on_in_equal_shares(files: Path) -> None:
    """Without a word on shares, of tasks of one's own; the checkpoint tells them in that order."""
    pytest.importorskip("matplotlib", reason="needs the train extra")
    examples = [Pair("title", "rice cooking", "How to cook rice"), *TRAIN]
    pairs.write(files / "own.tsv", examples * 4)
    arguments = ["--pairs", str(files / "own.tsv"), "--out", str(files / "own"), "--steps", "2"]
    assert script("train").main([*arguments, *TINY]) == 0
    config = json.loads((files / "own" / "checkpoint" / "config.json").read_text(encoding="utf-8"))
    assert config["t5serve_prefixes"] == {"title": "title: ", "fix": "fix: "}
    options = script("train").build_parser().parse_args(arguments)
    both = {"title": 1.0, "fix": 1.0}
    assert script("train")._parse_shares(options, ["title", "fix"], both) == {
        "early": both,
        "late": both,
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("scaled", "trainable"), [(False, False), (True, True)])
def test_what_transformers_5_saved_is_computed_right_or_refused(
    tmp_path: Path, *, scaled: bool, trainable: bool
) -> None:
    """The pinned transformers 4 takes a tied head for one that is scaled."""
    directory = tiny.build("tied_relu", tmp_path / "checkpoint")
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"scale_decoder_outputs": scaled, "transformers_version": "5.23.0"}
    path.write_text(json.dumps(config), encoding="utf-8")
    if trainable:
        assert t5_model.load(directory).config.tie_word_embeddings
    else:
        with pytest.raises(ValueError, match="not trained here"):
            t5_model.load(directory)


@pytest.mark.filterwarnings("ignore")
def test_a_head_of_its_own_that_transformers_5_saved_stays_one(tmp_path: Path) -> None:
    directory = tiny.build("gated_untied", tmp_path / "checkpoint")
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"tie_word_embeddings": True, "scale_decoder_outputs": False}
    config["transformers_version"] = "5.23.0"
    path.write_text(json.dumps(config), encoding="utf-8")
    model = t5_model.load(directory)
    assert not model.config.tie_word_embeddings
    head = torch.from_numpy(tiny.tensors("gated_untied")["lm_head.weight"])
    assert torch.equal(model.lm_head.weight, head)


def prepared(files: Path, out: Path, *options: str) -> Any:
    """A trainer that has not begun."""
    data = ("--pairs", str(files / "train.tsv"), "--valid", str(files / "valid.tsv"))
    shares = ("--early", "fix=1", "--late", "fix=1", "--steps", "9")
    arguments = [*data, *shares, "--out", str(out), *TINY, *options]
    module = script("train")
    return module._prepare(module.build_parser().parse_args(arguments))[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--minutes or --steps"),
        (("--steps", "9", "--late", "fix=1,denoise=1"), "--early: 'denoise' needs text"),
        (("--steps", "9", "--early", "fix=1", "--late", "fxi=1"), "no pairs of the task 'fxi'"),
        (("--steps", "9", "--late", "fix"), "float"),
        (("--steps", "9", "--start", "nowhere"), "spiece.model is not there"),
        (
            ("--steps", "9", "--valid", "nowhere.tsv", "--early", "fix=1", "--late", "fix=1"),
            "nowhere",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(
    files: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ["--pairs", str(files / "train.tsv"), "--out", str(files / "refused"), *TINY]
    assert script("train").main([*fixed, *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("load", "used", "count"), [(0.0, 4, 4), (4.0, 4, 4), (5.0, 4, 3), (4.0, 2, 2), (9.0, 1, 1)]
)
def test_threads_are_what_other_work_leaves_free(load: float, used: int, count: int) -> None:
    assert threads.count_free(load, used, 4) == count


def test_a_batch_is_padded_shifted_and_masked() -> None:
    batch = collate([Example([5, 6, 1], [7, 1]), Example([8, 1], [9, 10, 1])])
    assert batch.source.tolist() == [[5, 6, 1], [8, 1, 0]]
    assert batch.mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.target.tolist() == [[7, 1, 0], [9, 10, 1]]
    assert batch.decoder_input.tolist() == [[0, 7, 1], [0, 9, 10]]


def test_batches_hold_examples_of_like_length() -> None:
    rng = random.Random(0)

    def draw() -> Example:
        return Example([4] * rng.randrange(1, 60), [5, 1])

    batches = stream(draw, 8, rng)
    padding = sum(int((1 - next(batches).mask).sum()) for _ in range(24))
    assert padding < 24 * 8 * 3


def test_the_loss_is_transformers_own() -> None:
    torch.manual_seed(0)
    model = t5_model.build(t5_model.Shape(64, 64, 1, 1, 1), 40).eval()
    batch = collate([Example([5, 6, 1], [7, 1]), Example([8, 1], [9, 10, 1])])
    labels = batch.target.masked_fill(batch.target == 0, -100)
    expected = model(input_ids=batch.source, attention_mask=batch.mask, labels=labels).loss
    mean, count = compute_loss(model, batch)
    assert count == 5
    torch.testing.assert_close(mean, expected)


def test_a_step_is_in_proportion_to_the_tensor() -> None:
    large, small = (torch.nn.Parameter(torch.full((4,), size)) for size in (10.0, 0.1))
    optimiser = ScaledAdam([large, small], lr=0.01)
    (large.sum() + small.sum()).backward()
    optimiser.step()
    torch.testing.assert_close(large.data, torch.full((4,), 9.9))
    torch.testing.assert_close(small.data, torch.full((4,), 0.099))


def test_the_average_follows_the_weights() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = Average(model, decay=0.5)
    model.weight.data.fill_(1.0)
    for _ in range(20):
        average.update(model)
    assert float(average.weights()["weight"]) == pytest.approx(1.0, abs=1e-3)
    restored = Average(model)
    restored.restore(average.state())
    assert restored.state() == average.state()


def test_like_words_start_near_each_other(tmp_path: Path) -> None:
    words = Vocabulary(vocabulary.train(["rice tea sky"] * 50, 130, tmp_path))
    torch.manual_seed(0)
    rows = torch.randn(len(words), 8)
    before = rows.clone()
    generator = np.random.default_rng(0)
    known = {words.piece(index): generator.normal(size=16) for index in range(3, 20)}
    known[words.piece(4)] = known[words.piece(3)] + 0.01
    count = word_vectors.initialise_embedding(
        rows, words, {k: v.astype("f4") for k, v in known.items()}, 0.9
    )
    assert count >= 17  # of a letter in the list, its capital starts from it too
    assert torch.equal(rows[:3], before[:3])
    near = torch.nn.functional.cosine_similarity(rows[3], rows[4], dim=0)
    assert float(near) > 0.7
    assert 0.7 < float(rows[3:20].std()) < 1.3


def test_a_state_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert training_state.load(tmp_path) is None
    training_state.save(tmp_path, {"step": 3})
    assert training_state.load(tmp_path) == {"step": 3}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {training_state.FILE, training_state.SUMMARY}
