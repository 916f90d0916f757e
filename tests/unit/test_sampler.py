"""The distribution that tokens are drawn from, and the draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from support.decoding import SamplingCase, sampling_cases
from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.sampler import Sampler, compute_distribution
from t5engine.decoding.strategy import start_search

Probabilities = npt.NDArray[np.float64]

# In percent, and not in order.
WEIGHTS = (10, 40, 1, 25, 0, 15, 6, 3)
with np.errstate(divide="ignore"):  # a suppressed token
    SCORES: F32 = np.log(np.array(WEIGHTS, np.float32))
DRAWS = 20_000
EOS = 1
UNLIKELY = 3.1  # standard deviations: one test in a thousand with other seeds

# By each option, the weights that are left: worked out by hand.
DRAWN: list[tuple[dict[str, Any], Sequence[float]]] = [
    ({}, WEIGHTS),
    ({"temperature": 0.5}, (100, 1600, 1, 625, 0, 225, 36, 9)),
    ({"temperature": 2.0}, [math.sqrt(weight) for weight in WEIGHTS]),
    ({"top_k": 3}, (0, 40, 0, 25, 0, 15, 0, 0)),
    ({"top_p": 0.75}, (0, 40, 0, 25, 0, 15, 0, 0)),
    ({"min_p": 0.2}, (10, 40, 0, 25, 0, 15, 0, 0)),
    # The entropy is 1.55; the surprise of 25 is 1.39, that of 15 is 1.90, that of 40 is 0.92.
    ({"typical_p": 0.3}, (0, 0, 0, 25, 0, 15, 0, 0)),
    ({"typical_p": 0.5}, (0, 40, 0, 25, 0, 15, 0, 0)),
    # Temperature before the others.
    ({"temperature": 0.5, "top_p": 0.9}, (0, 1600, 0, 625, 0, 225, 0, 0)),
]
COMPUTED: list[tuple[dict[str, Any], Sequence[float]]] = [
    ({"temperature": 100.0}, [weight**0.01 if weight else 0 for weight in WEIGHTS]),
    ({"top_k": 1}, (0, 1, 0, 0, 0, 0, 0, 0)),
    ({"top_p": 0.3}, (0, 1, 0, 0, 0, 0, 0, 0)),
    ({"min_p": 1.0}, (0, 1, 0, 0, 0, 0, 0, 0)),
    # What top-k leaves is all that top-p sees, and so on.
    ({"top_k": 3, "top_p": 0.6}, (0, 40, 0, 25, 0, 0, 0, 0)),
    ({"top_p": 0.75, "min_p": 0.5}, (0, 40, 0, 25, 0, 0, 0, 0)),
    ({"temperature": 2.0, "top_k": 4, "min_p": 0.55}, (0, 40**0.5, 0, 5, 0, 15**0.5, 0, 0)),
]

EXTREMES: list[dict[str, Any]] = [
    {"temperature": 1e-6},
    {"temperature": 5e-324},
    {"temperature": 100.0},
    {"top_p": 1e-9},
    {"top_p": 5e-324},
    {"top_p": 1 - 1e-12},
    {"top_k": 1000},
    {"top_k": 8},
    {"min_p": 1.0},
    {"min_p": 5e-324},
    {"typical_p": 5e-324},
    {"typical_p": 1 - 1e-12},
    {"temperature": 1e-6, "top_k": 2, "top_p": 1e-9, "min_p": 1.0},
    {"temperature": 100.0, "top_k": 7, "top_p": 1 - 1e-12, "min_p": 1e-12},
]

suppressed_or_not = st.one_of(st.just(-math.inf), st.floats(-(2.0**99), 2.0**99, width=32))
score_vectors = arrays(np.float32, 8, elements=suppressed_or_not).filter(
    lambda scores: bool(np.isfinite(scores).any())
)


def config(**options: Any) -> GenerationConfig:
    return GenerationConfig(max_tokens=9, do_sample=True, **options)


def normalised(weights: Sequence[float]) -> Probabilities:
    return np.array(weights, np.float64) / sum(weights)


def distribution_of(scores: F32, options: GenerationConfig) -> Probabilities:
    """Returns the distribution over the entire vocabulary."""
    ids, weights = compute_distribution(scores, options)
    assert (np.diff(ids) > 0).all()
    whole = np.zeros(scores.size)
    whole[ids] = weights
    return whole


def first_tokens(scores: F32, options: GenerationConfig) -> npt.NDArray[np.intp]:
    """Counts how often each token is the first of a sequence, over seeds and indices."""
    tokens = [
        Sampler(options, seed, index).draw(scores)
        for seed in range(DRAWS // 20)
        for index in range(20)
    ]
    return np.bincount(tokens, minlength=scores.size)


def deviation(counts: npt.NDArray[np.intp], expected: Probabilities) -> float:
    """Returns how unlikely the counts are, in standard deviations.

    Chi-square, made normal by Wilson and Hilferty. Tokens with fewer than five expected draws are
    counted together.
    """
    assert not counts[expected == 0].any()
    expected_counts = expected * counts.sum()
    rare = expected_counts < 5
    pooled = np.append(expected_counts[~rare], expected_counts[rare].sum())
    observed = np.append(counts[~rare], counts[rare].sum())
    pooled, observed = pooled[pooled > 0], observed[pooled > 0]
    freedom = pooled.size - 1
    if not freedom:
        return 0.0
    chi_square = float(((observed - pooled) ** 2 / pooled).sum())
    spread_of_cube_root = 2 / (9 * freedom)
    return float(
        ((chi_square / freedom) ** (1 / 3) - (1 - spread_of_cube_root)) / spread_of_cube_root**0.5
    )


@pytest.mark.parametrize("case", sampling_cases(), ids=lambda case: str(case.options))
def test_distributions_are_transformers_s(case: SamplingCase) -> None:
    """Every setting of the golden file, after the same processors."""
    ours = distribution_of(case.processed, case.config)
    assert ours == pytest.approx(case.probabilities, abs=1e-6)
    assert (ours > 0).tolist() == (case.probabilities > 0).tolist()


@pytest.mark.parametrize(("options", "weights"), DRAWN + COMPUTED)
def test_distributions(options: dict[str, Any], weights: Sequence[float]) -> None:
    """Each option keeps and shapes what it should, in the order temperature, k, p, min-p."""
    assert distribution_of(SCORES, config(**options)) == pytest.approx(
        normalised(weights), abs=1e-6
    )


@pytest.mark.parametrize(("options", "weights"), DRAWN)
def test_draws_follow_the_distribution(options: dict[str, Any], weights: Sequence[float]) -> None:
    """First tokens of 20,000 sequences are as frequent as they should be."""
    counts = first_tokens(SCORES, config(**options))
    assert deviation(counts, normalised(weights)) < UNLIKELY


def test_the_bound_tells_distributions_apart() -> None:
    """It would not let another temperature's draws pass, or those of a token too many."""
    counts = first_tokens(SCORES, config(temperature=1.05))
    assert deviation(counts, normalised(WEIGHTS)) > UNLIKELY
    counts = first_tokens(SCORES, config(top_p=0.99))
    assert deviation(counts, normalised(WEIGHTS)) > UNLIKELY


def test_draws_of_one_sequence_follow_the_distribution() -> None:
    """Token after token, not only at the start."""
    sampler = Sampler(config(), 0, 0)
    counts = np.bincount([sampler.draw(SCORES) for _ in range(DRAWS)], minlength=SCORES.size)
    assert deviation(counts, normalised(WEIGHTS)) < UNLIKELY


def draws(seed: int, index: int) -> list[int]:
    sampler = Sampler(config(), seed, index)
    return [sampler.draw(SCORES) for _ in range(50)]


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_seed_and_index_make_the_draws(seed: int) -> None:
    """The same two give the same draws, another of either gives others."""
    assert draws(seed, 3) == draws(seed, 3)
    paths = [draws(seed, index) for index in range(20)] + [draws(seed + 1, 3)]
    assert len({tuple(path) for path in paths}) == len(paths)


@given(score_vectors, st.integers(0, 99), st.integers(0, 7), st.integers(1, 3))
def test_temperature_0_takes_the_best(scores: F32, seed: int, suppressed: int, count: int) -> None:
    """Each sequence takes the first of the best allowed tokens; without one, it ends."""
    options = config(temperature=0.0, seed=seed, num_return_sequences=count)
    search = start_search(options, start=0, eos=EOS, suppressed=np.array([suppressed]))
    branches = search.advance([scores])
    allowed = np.where(np.arange(scores.size) == suppressed, -np.inf, scores)
    best = int(allowed.argmax()) if np.isfinite(allowed).any() else EOS
    assert [one.tokens for one in search.settled] == [[best] if best != EOS else []] * count
    assert [branch.token for branch in branches] == ([best] * count if best != EOS else [])


@pytest.mark.parametrize("options", EXTREMES)
@given(scores=score_vectors, seed=st.integers(0, 99))
@settings(max_examples=40)
def test_extremes(options: dict[str, Any], scores: F32, seed: int) -> None:
    """Never NaN, a suppressed token or a warning; a warning is an error here."""
    ids, weights = compute_distribution(scores, config(**options))
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()
    assert np.isfinite(scores[ids]).all()
    if "typical_p" not in options:  # the best token may be the least typical one
        assert scores[ids].max() >= scores.max() - 1e-6
    assert Sampler(config(**options), seed, 0).draw(scores) in ids


@pytest.mark.parametrize("options", EXTREMES)
def test_a_single_token(options: dict[str, Any]) -> None:
    """It is drawn, whatever the options."""
    scores = np.full(8, -np.inf, np.float32)
    scores[5] = -3.0
    assert distribution_of(scores, config(**options)).tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert Sampler(config(**options), 0, 0).draw(scores) == 5


@given(score_vectors, st.integers(1, 8))
def test_top_k_keeps_all_of_equals(scores: F32, count: int) -> None:
    """What is as likely as the last one kept stays, as in transformers."""
    kept = distribution_of(scores, config(top_k=count, temperature=100.0)) > 0
    threshold = np.sort(scores)[-count]
    assert not kept[scores < threshold].any()


@given(score_vectors, st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_that_suffice(scores: F32, mass: float) -> None:
    """Their mass is enough, and would not be without the least likely of them."""
    whole = distribution_of(scores, config())
    kept = whole[distribution_of(scores, config(top_p=mass)) > 0]
    assert kept.sum() >= mass - 1e-9
    assert kept.sum() - kept.min() <= mass + 1e-9
