"""Processors: what they change in the scores of the next token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from support.decoding import SamplingCase, sampling_cases
from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.processors import Processors

START = 0
VOCAB = 6
NONE = -np.inf

score_vectors = arrays(np.float32, VOCAB, elements=st.floats(-50, 50, width=32))
token_lists = st.lists(st.integers(0, VOCAB - 1), max_size=8)
sizes = st.integers(1, 4)


def make_processors(*, suppressed: Sequence[int] = (), **options: Any) -> Processors:
    config = GenerationConfig(max_tokens=9, **options)
    return Processors(config, start=START, suppressed=np.array(suppressed, np.intp))


def vector(*values: float) -> F32:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("options", "tokens", "expected"),
    [
        ({"logit_bias": {1: 1.5, 4: -2.0}}, [], [1.0, 3.5, -1.0, -2.0, -2.0, 4.0]),
        ({"repetition_penalty": 2.0}, [], [0.5, 2.0, -1.0, -2.0, 0.0, 4.0]),  # the start token
        ({"repetition_penalty": 2.0}, [1, 3, 3], [0.5, 1.0, -1.0, -4.0, 0.0, 4.0]),
        ({"repetition_penalty": 0.5}, [1, 3], [2.0, 4.0, -1.0, -1.0, 0.0, 4.0]),
        ({"presence_penalty": 0.5}, [1, 3, 3], [1.0, 1.5, -1.0, -2.5, 0.0, 4.0]),
        ({"frequency_penalty": 0.5}, [1, 3, 3], [1.0, 1.5, -1.0, -3.0, 0.0, 4.0]),
        ({"presence_penalty": -1.0, "frequency_penalty": 2.0}, [5, 5], [1, 2, -1, -2, 0, 1]),
        ({"no_repeat_ngram_size": 1}, [1, 3], [NONE, NONE, -1.0, NONE, 0.0, 4.0]),
        ({"no_repeat_ngram_size": 2}, [], [1.0, 2.0, -1.0, -2.0, 0.0, 4.0]),
        ({"no_repeat_ngram_size": 2}, [1, START], [1.0, NONE, -1.0, -2.0, 0.0, 4.0]),
        ({"no_repeat_ngram_size": 2}, [1, 3, 1, 2, 1], [1.0, 2.0, NONE, NONE, 0.0, 4.0]),
        ({"no_repeat_ngram_size": 3}, [1], [1.0, 2.0, -1.0, -2.0, 0.0, 4.0]),
        ({"no_repeat_ngram_size": 3}, [1, 2, 1, 2], [1.0, NONE, -1.0, -2.0, 0.0, 4.0]),
        ({"no_repeat_ngram_size": 9}, [1, 2, 1, 2], [1.0, 2.0, -1.0, -2.0, 0.0, 4.0]),
    ],
)
def test_each_alone(options: dict[str, Any], tokens: list[int], expected: list[float]) -> None:
    """Worked out by hand."""
    scores = vector(1.0, 2.0, -1.0, -2.0, 0.0, 4.0)
    assert make_processors(**options)(scores, tokens).tolist() == expected


TRUNCATIONS = {"top_k", "top_p", "min_p", "typical_p"}  # the sampler's work


@pytest.mark.parametrize(
    "case",
    [case for case in sampling_cases() if not case.options.keys() & TRUNCATIONS],
    ids=lambda case: str(case.options),
)
def test_scores_are_transformers_s(case: SamplingCase) -> None:
    """Up to a constant they are the logs of the golden file's probabilities."""
    allowed = case.probabilities > 0
    ours = case.processed / case.config.temperature
    assert np.isneginf(ours[~allowed]).all()
    constant = ours[allowed] - np.log(case.probabilities[allowed])
    assert np.ptp(constant) < 1e-4


def test_diversity_counts_the_beams_of_other_groups() -> None:
    """Each that took a token in this step makes it less likely by the penalty."""
    processors = make_processors(diversity_penalty=0.5, num_beams=4, num_beam_groups=4)
    scores = processors(vector(1, 2, 3, 4, 5, 6), [3], {4: 1, 5: 3})
    assert scores.tolist() == [1, 2, 3, 4, 4.5, 4.5]


def test_the_order_is_that_of_transformers() -> None:
    """Bias and diversity come before the repetition penalty, which doubles what is below 0 now."""
    processors = make_processors(
        logit_bias={1: -2.0},
        diversity_penalty=1.0,
        num_beams=2,
        num_beam_groups=2,
        repetition_penalty=2.0,
        presence_penalty=0.25,
    )
    assert processors(vector(0, 1, 0.5), [1, 2], {2: 1}).tolist() == [0, -2.25, -1.25]


@given(score_vectors, token_lists, token_lists)
def test_neutral_values_change_nothing(scores: F32, tokens: list[int], chosen: list[int]) -> None:
    """Neither do n-grams that are longer than any sequence, or biases of nothing."""
    neutral: list[dict[str, Any]] = [
        {},
        {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
        {"logit_bias": {1: 0.0, 3: 0.0}, "no_repeat_ngram_size": 10, "diversity_penalty": 0.0},
        {"temperature": 0.1, "top_k": 1, "top_p": 0.1, "min_p": 1.0, "length_penalty": 9.0},
    ]
    for options in neutral:
        processed = make_processors(**options)(scores, tokens, Counter(chosen))
        assert processed.tolist() == scores.tolist()


@given(score_vectors, token_lists)
def test_the_given_scores_stay(scores: F32, tokens: list[int]) -> None:
    """They are the backend's, or another sequence's as well."""
    before = scores.copy()
    make_processors(
        suppressed=[2],
        logit_bias={3: 2.0},
        repetition_penalty=1.5,
        presence_penalty=1.0,
        no_repeat_ngram_size=1,
    )(scores, tokens)
    assert scores.tolist() == before.tolist()


@given(score_vectors, token_lists, st.floats(-2, 2), st.floats(-2, 2))
def test_openai_s_formula(
    scores: F32, tokens: list[int], presence: float, frequency: float
) -> None:
    """Logits lose c * frequency_penalty + (c > 0) * presence_penalty, c counting the generated."""
    processors = make_processors(presence_penalty=presence, frequency_penalty=frequency)
    expected = [
        score - tokens.count(token) * frequency - (tokens.count(token) > 0) * presence
        for token, score in enumerate(scores.tolist())
    ]
    assert processors(scores, tokens).tolist() == pytest.approx(expected, abs=1e-4)


@given(score_vectors, token_lists, sizes)
def test_no_n_gram_comes_twice(scores: F32, tokens: list[int], size: int) -> None:
    """Exactly those tokens are excluded that would complete one that is there already."""
    processed = make_processors(no_repeat_ngram_size=size)(scores, tokens)
    path = [START, *tokens]
    grams = {tuple(path[i : i + size]) for i in range(len(path) - size + 1)}
    for token in range(VOCAB):
        repeats = tuple([*path, token][-size:]) in grams
        assert processed[token] == (NONE if repeats else scores[token])


@given(score_vectors, token_lists, st.sampled_from([100.0, -100.0]))
def test_suppressed_wins_over_a_bias(scores: F32, tokens: list[int], bias: float) -> None:
    """No client gets a token out that is not text."""
    processed = make_processors(
        suppressed=[2, 5],
        logit_bias={2: bias, 5: bias},
        repetition_penalty=0.5,
        presence_penalty=-2.0,
    )(scores, tokens)
    assert np.isneginf(processed[[2, 5]]).all()
    assert np.isfinite(np.delete(processed, [2, 5])).all()


@given(score_vectors, token_lists)
def test_the_largest_penalties_leave_finite_scores(scores: F32, tokens: list[int]) -> None:
    """No overflow, whatever a client asks within the limits."""
    for factor, penalty in ((100.0, 100.0), (0.01, -100.0)):
        processors = make_processors(
            repetition_penalty=factor, presence_penalty=penalty, frequency_penalty=penalty
        )
        assert np.isfinite(processors(scores, tokens)).all()
