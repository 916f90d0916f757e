"""Drafts change nothing but the number of steps, whether they come from the input or anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from support import tiny
from support.decoding import EOS, QUERIES, Answer, convert, open_model, run, run_one
from t5engine.backend import F32
from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Failed, Generate, Generated
from t5engine.worker import prompt_lookup as lookup
from t5engine.worker.model import Model
from t5gguf import recipe

Draft = Callable[[Sequence[int], Sequence[int], int], list[int]]
GREEDY = GenerationConfig(max_tokens=24)
SAMPLE = GenerationConfig(max_tokens=24, do_sample=True, temperature=1.3, top_k=9, seed=5)


@pytest.fixture(scope="module")
def embedded() -> Model:
    return open_model(recipe.load("tiny-t5").model_path(), "graph")


@pytest.fixture(scope="module")
def llama() -> Model:
    return open_model(recipe.load("tiny-t5").model_path(), "llama")


@pytest.fixture(scope="module")
def restless(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Random weights that do not repeat themselves."""
    checkpoint = tiny.build("restless", tmp_path_factory.mktemp("restless"))
    return open_model(convert(checkpoint, checkpoint / "x.gguf"), "graph")


def outcome(answer: Answer) -> Generated:
    assert isinstance(answer.outcome, Generated), answer.outcome
    return answer.outcome


def check_same(plain: Answer, drafted: Answer) -> None:
    """Token for token, and what was streamed as well."""
    for one, other in zip(outcome(plain).outputs, outcome(drafted).outputs, strict=True):
        assert one.tokens == other.tokens
        assert (one.text, one.finish_reason) == (other.text, other.finish_reason)
        assert one.logprob == pytest.approx(other.logprob, abs=0.01)
    assert [one.text for one in plain.progress] == [one.text for one in drafted.progress]


def from_nowhere(vocabulary: int, seed: int) -> Draft:
    """Any tokens, at any time."""
    chance = random.Random(seed)
    return lambda _source, _target, count: [
        chance.randrange(vocabulary) for _ in range(chance.randint(0, count))
    ]


def from_the_answer(answer: Sequence[int], seed: int) -> Draft:
    """The tokens that will come, some of them spoilt."""
    chance = random.Random(seed)

    def draft(_source: Sequence[int], target: Sequence[int], count: int) -> list[int]:
        coming = [*answer, EOS][len(target) :][:count]
        return [token if chance.random() < 0.8 else 5 for token in coming]

    return draft


@pytest.mark.parametrize("config", [GREEDY, SAMPLE])
@pytest.mark.parametrize("drafts", [1, 3, 7])
def test_queries_are_answered_alike(embedded: Model, config: GenerationConfig, drafts: int) -> None:
    """Drafts from the input, of every task; and steps are saved."""
    kept = 0
    for place, query in enumerate(QUERIES[:60]):
        text = f"{('paraphrase', 'fix', 'expand')[place % 3]}: {query}"
        request = Generate(0, config, text=text, stream=True)
        drafted = run_one(embedded, request, drafts=drafts)
        check_same(run_one(embedded, request), drafted)
        kept += outcome(drafted).drafts_kept
    assert kept > 60


@pytest.mark.parametrize("name", ["embedded", "restless", "llama"])
def test_any_draft_will_do(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong ones and right ones, at any place, up to every end of a sequence."""
    model: Model = request.getfixturevalue(name)
    chance = random.Random(11)
    for seed in range(15 if name == "llama" else 30):  # which is slower
        ids = [*(chance.randrange(3, 300) for _ in range(chance.randint(0, 20))), EOS]
        config = replace(chance.choice([GREEDY, SAMPLE]), max_tokens=chance.randint(1, 64))
        job = Generate(0, config, ids=ids, stream=True)
        plain = run_one(model, job)
        if outcome(plain).best.text and chance.random() < 0.4:
            text = outcome(plain).best.text
            start = chance.randrange(len(text))
            job = replace(job, stop=[text[start : start + 3]])
            plain = run_one(model, job)
        for source in (
            from_nowhere(300, seed),
            from_the_answer(outcome(plain).best.tokens, seed),
        ):
            monkeypatch.setattr(lookup, "draft", source)
            check_same(plain, run_one(model, job, drafts=3))


def test_right_drafts_save_steps(embedded: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tokens a step, when all that is drafted comes."""
    request = Generate(0, GREEDY, text=f"fix: {QUERIES[3]}")
    plain = outcome(run_one(embedded, request)).best
    steps = []
    extend = embedded.backend.extend

    def counted(rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[F32]:
        steps.append(len(tokens[0]))
        return extend(rows, tokens)

    monkeypatch.setattr(embedded.backend, "extend", counted)
    monkeypatch.setattr(
        lookup, "draft", lambda _source, target, count: [*plain.tokens, EOS][len(target) :][:count]
    )
    drafted = outcome(run_one(embedded, request, drafts=3))
    assert drafted.best.tokens == plain.tokens
    assert steps == [4] * -(-plain.decoded // 4)
    assert drafted.drafts_kept == plain.decoded - len(steps)
    assert drafted.drafted == 3 * len(steps)


def test_a_draft_that_overflows_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would have been NaN, had it been chosen, leaves nothing behind."""
    poison = 7
    file = convert(tiny.build_poison(tmp_path, poison), tmp_path / "x.gguf", "F16")
    # Our own kernels do not round a step's inputs to F16, where they would overflow.
    model = open_model(file, "graph", kernels="ggml")
    request = Generate(0, GenerationConfig(max_tokens=12), ids=[5, 6, 9, EOS])
    plain = run_one(model, request)
    assert poison not in outcome(plain).best.tokens
    monkeypatch.setattr(
        lookup,
        "draft",
        lambda _source, target, _count: (
            [*[*outcome(plain).best.tokens, EOS][len(target) :][:1], poison, 5]
        ),
    )
    check_same(plain, run_one(model, request, drafts=3))
    chosen = replace(request, config=GenerationConfig(max_tokens=12, logit_bias={poison: 100.0}))
    assert isinstance(run_one(model, chosen, drafts=3).outcome, Failed)
    check_same(plain, run_one(model, request, drafts=3))


def test_nothing_is_drafted_in_company(embedded: Model) -> None:
    """Neither beside other jobs nor for several sequences of one."""
    texts = [f"fix: {query}" for query in QUERIES[:4]]
    answers = run(
        embedded, [Generate(job, GREEDY, text=text) for job, text in enumerate(texts)], drafts=3
    )
    beams = run_one(embedded, Generate(0, replace(GREEDY, num_beams=3), text=texts[0]), drafts=3)
    assert outcome(beams).drafted == 0
    plain = [run_one(embedded, Generate(0, GREEDY, text=text)) for text in texts]
    assert [outcome(one).best.tokens for one in answers] == [
        outcome(one).best.tokens for one in plain
    ]
    # The last to run is alone at the end.
    assert sum(outcome(one).drafted > 0 for one in answers) <= 1
