"""Every strategy, on a model that is a function of the tokens so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.searching import (
    EOS,
    SAMPLES,
    START,
    STRATEGIES,
    VOCAB,
    FakeModel,
    Options,
    Run,
    any_options,
    lengths,
    make_config,
    model_seeds,
    run_search,
    tokens_of,
)
from t5engine.decoding.beam import BeamSearch
from t5engine.decoding.processors import Processors
from t5engine.decoding.search import Rules


@given(model_seeds, any_options(), st.sets(st.integers(0, VOCAB - 1)))
@settings(max_examples=200)
def test_what_every_search_promises(seed: int, options: Options, suppressed: set[int]) -> None:
    """Valid branches, reasons to end, the model's own log-probabilities: `Run` checks them."""
    sequences = run_search(FakeModel(seed), options, suppressed=sorted(suppressed))
    again = run_search(FakeModel(seed), options, suppressed=sorted(suppressed))
    assert sequences == again


@given(model_seeds, any_options(), st.integers(2, VOCAB - 1), st.integers(1, 4))
def test_a_stop_predicate_ends_sequences(
    seed: int, options: Options, token: int, count: int
) -> None:
    """In every strategy, at the token that fulfils it, and none goes on."""

    def should_stop(tokens: Sequence[int]) -> bool:
        return token in tokens or len(tokens) >= count

    for hypothesis in run_search(
        FakeModel(seed, towards_end=-2.0), options, should_stop=should_stop
    ):
        assert token not in hypothesis.tokens[:-1]
        assert len(hypothesis.choices) <= count


@given(model_seeds, lengths)
def test_greedy_takes_the_best_token(seed: int, length: int) -> None:
    """Until `</s>`, or as many as may be."""
    model = FakeModel(seed)
    path: list[int] = []
    while EOS not in path and len(path) < length:
        path.append(int(model.logits((START, *path)).argmax()))
    assert tokens_of(run_search(model, {"max_tokens": length})) == [path]


@given(model_seeds, lengths)
def test_one_beam_is_greedy(seed: int, length: int) -> None:
    """So are beam search itself, if its first sequence ends it, and sampling at temperature 0."""
    model = FakeModel(seed)
    greedy = run_search(model, {"max_tokens": length})
    one_beam: Options = {"max_tokens": length, "num_beams": 1, "early_stopping": True}
    assert run_search(model, one_beam) == greedy
    config = make_config(one_beam)
    none = np.array([], np.intp)
    processors = Processors(config, start=START, suppressed=none)
    search = BeamSearch(Rules(config, processors, EOS, None))
    assert tokens_of(run_search(model, one_beam, search=search)) == tokens_of(greedy)
    cold = {"max_tokens": length, "do_sample": True, "temperature": 0.0, "seed": seed}
    assert run_search(model, cold) == greedy
    several = run_search(model, cold | {"num_return_sequences": 3})
    assert several == greedy * 3


@given(model_seeds, st.sampled_from(STRATEGIES))
def test_neutral_options_change_nothing(seed: int, options: Options) -> None:
    """Neither do those that another strategy has."""
    model = FakeModel(seed)
    plain = run_search(model, options)
    neutral: list[Options] = [
        {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
        {"no_repeat_ngram_size": 10, "logit_bias": {2: 0.0, 3: 0.0}},
        {"top_k": VOCAB, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0},
        {"length_penalty": 2.0} if "num_beams" not in options else {"top_k": 1, "min_p": 1.0},
        {"temperature": 0.1} if "do_sample" not in options else {"early_stopping": True},
    ]
    for neutral_options in neutral:
        assert run_search(model, options | neutral_options) == plain


@pytest.mark.parametrize("options", STRATEGIES)
def test_nothing_is_allowed(options: Options) -> None:
    """Where not one token may come, an empty sequence does, and nothing breaks."""
    sequences = run_search(FakeModel(0), options, suppressed=range(VOCAB))
    assert {tuple(hypothesis.tokens) for hypothesis in sequences} == {()}
    assert {hypothesis.finish_reason for hypothesis in sequences} == {"stop"}


@pytest.mark.parametrize("options", STRATEGIES)
def test_only_the_end_is_allowed(options: Options) -> None:
    """Every sequence is empty."""
    sequences = run_search(FakeModel(0), options, suppressed=[0, *range(2, VOCAB)])
    assert {tuple(hypothesis.tokens) for hypothesis in sequences} == {()}
    assert all(np.isfinite(hypothesis.score) for hypothesis in sequences)


@pytest.mark.parametrize("options", STRATEGIES)
@given(seed=model_seeds)
@settings(max_examples=20)
def test_sequences_run_out_of_tokens(seed: int, options: Options) -> None:
    """If none may come twice, and the end never, all end when none is left."""
    model = FakeModel(seed)
    sequences = run_search(
        model, options | {"max_tokens": 20, "no_repeat_ngram_size": 1}, suppressed=[EOS]
    )
    for hypothesis in sequences:
        assert sorted(hypothesis.tokens) == list(range(2, VOCAB))
        assert hypothesis.finish_reason == "stop"
        assert np.isfinite(hypothesis.score)


@given(model_seeds, st.integers(0, 2**63 - 1))
def test_seeds_reproduce_whatever_else_happens(seed: int, sampling_seed: int) -> None:
    """Other searches in between, other numbers of sequences and NumPy's own state do not matter."""
    model = FakeModel(seed)
    options = SAMPLES | {"seed": sampling_seed}
    alone = run_search(model, options)
    fewer = run_search(model, options | {"num_return_sequences": 2})
    assert fewer == alone[:2]
    np.random.seed(seed)  # noqa: NPY002 - on purpose
    run = Run(model, options)
    interleaved = [Run(model, strategy) for strategy in STRATEGIES]
    while run.step():
        for other_run in list(interleaved):
            if not other_run.step():
                interleaved.remove(other_run)
    assert run.settled == alone


def test_without_a_seed_draws_differ() -> None:
    """Thirty tokens do not come out the same twice."""
    model = FakeModel(3, towards_end=-20.0)
    options = {"do_sample": True, "max_tokens": 30, "num_return_sequences": 3}
    paths = tokens_of(run_search(model, options) + run_search(model, options))
    assert len({tuple(path) for path in paths}) == 6
