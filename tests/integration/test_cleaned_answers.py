"""Answers of models whose tokenizer cleans up spaces: parts, streams and stop strings."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.checkpoint_forms import FORMS
from support.decoding import EOS, convert, open_model, run_one
from support.drawing import draw_config, draw_input
from support.rewriting import rewrite
from support.streaming import check_stream, draw_stops
from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.stops import Stops
from t5engine.messages import Generate
from t5engine.tokenization.cleanup import clean_up
from t5engine.tokenization.metadata import CLEANS_UP_SPACES
from t5engine.worker.model import Model
from t5gguf import __main__ as cli

NAMES = ("cleaned", "cleaned_slow")
TOKENS = ("▁", "'", "!", "s", "▁.", "▁'", "▁''", "▁n't", "▁'s", "▁,'", "▁?s", "▁'m", "t", "n", ".")
STOPS = (" ", "'", ".", " .", "'s", " '", "n't", ",'", "?", "! ", "''")
PROMPT = [5, EOS]


class ScriptedBackend:
    """Makes a single greedy sequence have given tokens."""

    name = "scripted"
    kernels = "none"
    rows = inputs = 1
    max_input_tokens = max_tokens = 64

    def __init__(self, n_vocab: int) -> None:
        self.n_vocab = n_vocab
        self.script: list[int] = []
        self._position = 0

    def encode(self, row: int, ids: Sequence[int], *, is_single_step: bool = False) -> None:
        del is_single_step
        assert row == 0
        assert list(ids) == PROMPT
        self._position = 0

    def extend(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[F32]:
        assert len(rows) == 1
        assert len(tokens[0]) == 1
        logits = np.zeros((1, self.n_vocab), np.float32)
        script = [*self.script, EOS]
        logits[0, script[min(self._position, len(script) - 1)]] = 9.0
        self._position += 1
        return [logits]

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> list[F32]:
        return [logits[0] for logits in self.extend(rows, [[token] for token in tokens])]

    def rewind(self, row: int, position: int) -> None:
        raise NotImplementedError  # nothing is drafted here

    def reorder(self, rows: Sequence[int], parents: Sequence[int]) -> None:
        assert list(rows) == list(parents)

    def release(self, row: int) -> None:
        pass


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The forms whose tokenizers clean answers up, converted."""
    root = tmp_path_factory.mktemp("cleaned")
    for name in NAMES:
        FORMS[name].build(root / name)
    return {name: convert(root / name, root / f"{name}.gguf") for name in NAMES}


@pytest.fixture(scope="module")
def models(files: dict[str, Path]) -> dict[str, Model]:
    return {name: open_model(file, "graph") for name, file in files.items()}


@pytest.fixture(scope="module")
def scripted(models: dict[str, Model]) -> dict[str, tuple[Model, ScriptedBackend, dict[str, int]]]:
    """Each model's vocabulary with a scripted backend, and the ids of its tokens' texts."""
    result = {}
    for name, model in models.items():
        backend = ScriptedBackend(model.backend.n_vocab)
        vocabulary = model.vocabulary
        ids = {vocabulary._stored_text(i).decode(): i for i in range(vocabulary.size)}
        result[name] = replace(model, backend=backend), backend, ids
    return result


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150)
@given(
    st.lists(st.sampled_from(TOKENS), max_size=14),
    st.lists(st.sampled_from(STOPS), max_size=2),
    st.sampled_from(["stop", "length"]),
)
@example(["s", "▁'", "▁", "."], [], "stop")
@example(["s", "▁'"], ["'"], "length")
def test_a_stream_of_any_tokens_adds_up(
    name: str,
    scripted: dict[str, tuple[Model, ScriptedBackend, dict[str, int]]],
    tokens: list[str],
    stop: list[str],
    end: str,
) -> None:
    """Its parts joined are the answer, which is the cleaned text up to the first stop string."""
    model, backend, ids = scripted[name]
    backend.script = [ids[text] for text in tokens]
    most = max(1, len(tokens) + (end == "stop"))
    config = GenerationConfig(max_tokens=most, top_logprobs=2)
    request = Generate(0, config, ids=PROMPT, stop=stop)
    check_stream(model, request)
    (output,) = run_one(model, request).outputs
    raw = "".join(model.vocabulary.decode_each(backend.script))
    cleaned = clean_up(raw)
    stops = Stops(stop)
    first = min((cleaned.find(text) for text in stop if text in cleaned), default=len(cleaned))
    assert output.text == stops.cut(cleaned) == cleaned[:first]
    is_over = stops.matches(cleaned) or len(output.tokens) < most
    assert output.finish_reason == ("stop" if is_over else "length")


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_of_any_strategy_adds_up(name: str, models: dict[str, Model]) -> None:
    """Of samples, beams and groups, with stop strings out of the cleaned texts."""
    model = models[name]
    chance = random.Random(5)
    for _ in range(25):
        request = Generate(0, draw_config(chance), ids=draw_input(chance, model))
        stops = draw_stops(chance, run_one(model, request).outputs)
        check_stream(model, Generate(0, request.config, ids=request.ids, stop=stops))


def test_a_token_has_the_part_of_the_text_that_is_shown(
    scripted: dict[str, tuple[Model, ScriptedBackend, dict[str, int]]],
) -> None:
    """A space that is left out is in no token's text, also among the alternatives."""
    model, backend, ids = scripted["cleaned"]
    backend.script = [ids[text] for text in ("s", "▁'", "▁", "s", "▁.", "▁", "!")]
    config = GenerationConfig(max_tokens=20, top_logprobs=1)
    (output,) = run_one(model, Generate(0, config, ids=PROMPT)).outputs
    details = [token for token in output.details or [] if token.id != EOS]
    assert output.text == "s's.!"
    assert [token.text for token in details] == ["s", "'", "", "s", ".", "", "!"]
    assert [token.top[0][:2] for token in details] == [(token.id, token.text) for token in details]


def test_a_file_without_the_key_keeps_the_spaces(files: dict[str, Path], tmp_path: Path) -> None:
    """Text, parts and stream are as the tokenizer joins them."""
    path = rewrite(files["cleaned"], tmp_path / "x.gguf", {CLEANS_UP_SPACES: None})
    model = open_model(path, "graph")
    config = GenerationConfig(max_tokens=12, top_logprobs=1)
    request = Generate(0, config, text='"color":')
    check_stream(model, request)
    assert " n't" in run_one(model, request).outputs[0].text


def test_the_text_of_a_prompt_is_not_cleaned(models: dict[str, Model]) -> None:
    """An echo is what was asked."""
    vocabulary = models["cleaned"].vocabulary
    texts = vocabulary.decode_each(vocabulary.encode("a . s"), shows_special=True)
    assert "".join(texts) == "a . s"


def test_inspect_says_that_answers_are_cleaned(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a file and of a checkpoint."""
    for path in (files["cleaned_slow"], files["cleaned_slow"].parent / "cleaned_slow"):
        assert cli.main(["inspect", str(path)]) == 0
        assert "spaces before punctuation are left out" in capsys.readouterr().out
