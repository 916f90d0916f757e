"""A teacher's prompts and shards; tuning and writing where the `train` extra is installed."""

import importlib.util
import json
import time
from pathlib import Path
from types import ModuleType

import pytest

from t5train import asking, pausing, prompts, searches, shards, vocabulary
from t5train.pairs import PairsError
from t5train.searches import Row
from t5train.shards import Request, Shards, Written

ROW = Written(
    task="search",
    source="Rhine or Nile?",
    targets=("Rhine length", "Nile length"),
    origin="own",
    sample=0,
    logprob=-1.5,
    tokens=7,
    is_ended=True,
)
WORDS = ("rhine", "nile", "seine", "or", "length", "river", "which", "is", "longer")


def test_an_answer_is_read_as_it_was_written() -> None:
    targets = ("Rhine length", "Nile  length")
    assert prompts.targets(prompts.answer(targets)) == ("Rhine length", "Nile length")
    assert prompts.targets("a\n\na\nb<|im_end|>\nc") == ("a", "b")
    assert prompts.targets("") == ()
    assert len(prompts.targets("\n".join(map(str, range(99))))) == prompts.MOST
    assert "\nsearch: a b<|im_end|>\n" in prompts.prompt("search", "a\nb")


def test_rows_go_on_after_a_kill_without_doubles(tmp_path: Path) -> None:
    """A line that was cut off by the end of a run is written again, the whole ones are not."""
    Shards(tmp_path).append([ROW, ROW, ROW._replace(sample=1)])
    (path,) = Shards(tmp_path).paths()
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    opened = Shards(tmp_path)
    assert opened.done == {("search", ROW.source, 0)}
    opened.append([ROW, ROW._replace(sample=1)])
    assert path.read_bytes() == whole
    assert list(shards.read(tmp_path)) == [ROW, ROW._replace(sample=1)]


def test_a_full_file_is_followed_by_the_next(tmp_path: Path) -> None:
    opened = Shards(tmp_path, lines=2)
    opened.append(ROW._replace(sample=number) for number in range(5))
    sizes = [len(path.read_text(encoding="utf-8").splitlines()) for path in opened.paths()]
    assert sizes == [2, 2, 1]
    assert len(Shards(tmp_path, lines=2).done) == 5


def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows-0000.jsonl").write_text('{"task": "search"}\n', encoding="utf-8")
    with pytest.raises(PairsError, match=r"rows-0000\.jsonl:1 is no row"):
        list(shards.read(tmp_path))


def test_work_waits_while_the_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "PAUSE"
    file.touch()
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            file.unlink()

    monkeypatch.setattr(time, "sleep", nap)
    pausing.pause(file)()
    assert len(naps) == 3
    assert pausing.pause(None)() < 1


def script(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A Llama of two layers whose tokens are words."""
    pytest.importorskip("torch", reason="needs the train extra")
    transformers = pytest.importorskip("transformers", reason="needs the train extra")
    from tokenizers import Tokenizer, models, pre_tokenizers

    marks = ["<|im_start|>", "<|im_end|>", "[UNK]", "user", "assistant", "search", ":", "?", "\n"]
    vocabulary = {word: number for number, word in enumerate([*marks, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",  # noqa: S106
        additional_special_tokens=marks[:2],
    )
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.3,  # the embedding is not tuned: its rows must differ
    )
    fast.save_pretrained(tmp_path / "model")
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.filterwarnings("ignore")  # of torch and transformers, which pin each other
def test_a_teacher_learns_resumes_and_writes(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The loss falls, a second call goes on, and each request has one row however often asked."""
    rows = [
        Row("search", f"which is longer {left} or {right}", (f"{left} length",), "own")
        for left in WORDS[:3]
        for right in WORDS[:3]
    ]
    searches.write(tmp_path / "rows.jsonl", rows)
    asking.write(tmp_path / "asks.jsonl", [Request("search", row.source, "own") for row in rows])
    distil = script("distil")
    caplog.set_level("INFO")
    tune = ["--device", "cpu", "tune", str(model), "--rows", str(tmp_path / "rows.jsonl")]
    out = ["--out", str(tmp_path / "teacher"), "--rate", "1e-2", "--shares", "own=1"]
    assert distil.main([*tune, *out, "--steps", "60"]) == 0
    assert distil.main([*tune, *out, "--steps", "120"]) == 0
    assert "goes on at step 60" in caplog.text
    losses = [float(record.args[1]) for record in caplog.records if "loss" in record.msg]  # type: ignore[index,arg-type]
    assert losses[-1] < losses[0] / 2
    state = json.loads((tmp_path / "teacher" / "state.json").read_text(encoding="utf-8"))
    assert state["step"] == 120
    ask = ["generate", str(model), "--weights", str(tmp_path / "teacher"), "--samples", "2"]
    files = ["--requests", str(tmp_path / "asks.jsonl"), "--out", str(tmp_path / "written")]
    for _ in range(2):
        assert distil.main(["--device", "cpu", *ask, *files]) == 0
    written = list(shards.read(tmp_path / "written"))
    assert len(written) == 2 * len(rows)
    assert all(row.logprob < 0 for row in written)
    right = {row.source: row.targets[0] for row in rows}
    greedy = [row for row in written if not row.sample]
    assert sum(row.targets[:1] == (right[row.source],) for row in greedy) > len(rows) / 2


def test_a_teacher_that_was_not_tuned_is_an_error(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asking.write(tmp_path / "asks.jsonl", [Request("search", "nile", "own")])
    files = ["--requests", str(tmp_path / "asks.jsonl"), "--out", str(tmp_path / "written")]
    arguments = ["generate", str(model), "--weights", str(tmp_path / "none"), *files]
    assert script("distil").main(arguments) == 2
    assert "run `tune` first" in capsys.readouterr().err


def test_rows_of_a_teacher_are_screened_into_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is kept says whose request it was; held-out requests and faults are counted."""
    pytest.importorskip("torch", reason="needs the train extra")
    kept = ROW._replace(source="Is the Rhine longer than the Nile?")
    held = ROW._replace(source="nile length", targets=("nile length",))
    faulty = ROW._replace(source="3 rhine tours", targets=("rhine tours",))
    Shards(tmp_path / "written").append([kept, held, faulty])
    searches.write(tmp_path / "heldout.jsonl", [Row("search", "Nile length?", ("x",), "own")])
    files = ["--heldout", str(tmp_path / "heldout.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    caplog.set_level("INFO")
    assert script("distil").main(["screen", str(tmp_path / "written"), *files]) == 0
    rows = list(searches.read(tmp_path / "out.jsonl"))
    assert rows == [Row("search", kept.source, kept.targets, "teacher/own")]
    messages = [" ".join(record.getMessage().split()) for record in caplog.records]
    assert {"search held out 1", "search kept 1", "search numbers 1"} <= {*messages}


@pytest.mark.filterwarnings("ignore")
def test_a_new_embedding_starts_from_the_teachers(model: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the train extra")
    from t5train import word_vectors

    path = vocabulary.train(["rhine nile seine river length"] * 20, 130, tmp_path)
    out = tmp_path / "vectors.txt"
    command = ["vectors", str(model), "--vocabulary", str(path), "--out", str(out)]
    assert script("distil").main(["--device", "cpu", *command]) == 0
    vectors = word_vectors.read(out)
    assert {len(vector) for vector in vectors.values()} == {32}
    words = vocabulary.Vocabulary(path)
    embedding = torch.zeros(len(words), 16).normal_()
    before = embedding.clone()
    count = word_vectors.initialise_embedding(embedding, words, vectors, 0.7)
    assert count == len(vectors) == int((embedding != before).any(1).sum())
