"""Beam search and diverse beam search, on a model that is a function of the tokens so far."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.searching import (
    BEAMS,
    DIVERSE,
    EOS,
    START,
    FakeModel,
    Options,
    Run,
    beams,
    diverse,
    lengths,
    model_seeds,
    run_search,
    scores_of,
    tokens_of,
)
from t5engine.decoding.logprobs import F32


@given(
    model_seeds,
    st.sampled_from([(2, 9), (2, 20), (3, 15), (3, 20)]),
    st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0]),
    st.sampled_from([False, True, "never"]),
)
def test_beams_that_hold_everything_find_everything(
    seed: int, size: tuple[int, int], penalty: float, early: object
) -> None:
    """With as many beams as there are sequences, the ranking is that of an exhaustive search."""
    length, count = size
    model = FakeModel(seed, vocab=3)
    ranking = []
    for used in range(1, length + 1):
        for path in product(range(3), repeat=used):
            if EOS in path[:-1] or (used < length and path[-1] != EOS):
                continue
            total = sum(model.log_probs((START, *path[:n]))[path[n]] for n in range(used))
            ranking.append((total / used**penalty, list(path)))
    ranking.sort(reverse=True)
    sequences = run_search(
        model,
        {
            "max_tokens": length,
            "num_beams": count,
            "num_return_sequences": count,
            "length_penalty": penalty,
            "early_stopping": early,
        },
    )
    assert len(ranking) == {2: 7, 3: 15}[length]
    assert scores_of(sequences) == pytest.approx([score for score, _ in ranking], abs=1e-4)
    assert tokens_of(sequences) == [path for _, path in ranking]


class TableModel(FakeModel):
    """A model of a table of probabilities; tokens outside of the table have those of the start."""

    def __init__(self, table: dict[tuple[int, ...], list[float]]) -> None:
        super().__init__(0)
        self._table = table

    def logits(self, tokens: tuple[int, ...]) -> F32:
        return np.log(np.array(self._table.get(tokens[1:], self._table[()]), np.float32))


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 2},
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1e-6},
    ],
)
def test_an_end_counts_only_among_the_best(options: Options) -> None:
    """A sequence that ends below as many candidates as there are beams is forgotten.

    It makes room for the next that does not end, and a worse one may come back in its place.
    """
    model = TableModel(
        {
            (): [0.01, 0.02, 0.5, 0.42, 0.05],
            (2,): [0.01, 0.5, 0.02, 0.02, 0.45],  # [2, </s>] 0.25, [2, 4] 0.225
            (3,): [0.01, 0.5, 0.02, 0.02, 0.45],  # [3, </s>] 0.21, third; [3, 4] 0.189
        }
    )
    count = options["num_beams"]
    sequences = run_search(
        model, options | {"max_tokens": 3, "num_return_sequences": count, "length_penalty": 0.0}
    )
    expected = [[2, EOS], [2, 4, 2]]
    assert tokens_of(sequences) == [path for path in expected for _ in range(count // 2)]


@given(model_seeds, st.one_of(beams(), diverse()), lengths)
def test_the_best_come_first(seed: int, options: Options, length: int) -> None:
    """Scores do not increase, are the normalised sums, and as many come as were asked for."""
    # Enough tokens for every beam of the first step.
    model = FakeModel(seed, vocab=30)
    sequences = run_search(model, options | {"max_tokens": length})
    scores = scores_of(sequences)
    assert scores == sorted(scores, reverse=True)
    assert len(sequences) == options["num_return_sequences"]
    if "num_beam_groups" not in options:
        sums = [
            hypothesis.logprob / len(hypothesis.choices) ** options["length_penalty"]
            for hypothesis in sequences
        ]
        assert scores == pytest.approx(sums, rel=1e-4)
        assert len({tuple(path) for path in tokens_of(sequences)}) == len(sequences)


@given(model_seeds, st.one_of(beams(), diverse()), lengths)
def test_fewer_returned_are_the_first_of_more(seed: int, options: Options, length: int) -> None:
    """How many come back does not change the search."""
    model = FakeModel(seed)
    options = options | {"max_tokens": length}
    every = run_search(model, options | {"num_return_sequences": options["num_beams"]})
    assert run_search(model, options) == every[: options["num_return_sequences"]]


@given(model_seeds, beams())
def test_patience_finds_better_ones(seed: int, options: Options) -> None:
    """A search that stops early stops first, and what a longer one finds is no worse."""
    model = FakeModel(seed)
    runs = [Run(model, options | {"early_stopping": early}) for early in (True, False, "never")]
    best = [run.finish()[0].score for run in runs]
    assert best == sorted(best)
    steps = [len(run.steps) for run in runs]
    assert steps == sorted(steps)


def test_each_kind_of_early_stopping_happens() -> None:
    """The three differ in their steps on some model, or the test before says nothing."""
    steps = {
        tuple(
            len(run.steps)
            for early in (True, False, "never")
            for run in [Run(FakeModel(seed), BEAMS | {"early_stopping": early})]
            if run.finish()
        )
        for seed in range(30)
    }
    assert any(first < second for first, second, _ in steps)
    assert any(second < third for _, second, third in steps)


@given(model_seeds, st.integers(2, 4))
def test_groups_avoid_one_another(seed: int, groups: int) -> None:
    """Under a high penalty no two of them take the same token in a step."""
    options = {
        "num_beams": groups,
        "num_beam_groups": groups,
        "num_return_sequences": groups,
        "diversity_penalty": 100.0,
    }
    run = Run(FakeModel(seed), options)
    sequences = run.finish()
    for branches in run.steps:
        assert max(Counter(branch.token for branch in branches).values(), default=1) == 1
    assert len(
        {tuple(hypothesis.tokens[:1]) for hypothesis in sequences if hypothesis.tokens}
    ) == sum(bool(hypothesis.tokens) for hypothesis in sequences)


@given(model_seeds, st.integers(2, 4))
def test_a_faint_penalty_parts_nobody(seed: int, groups: int) -> None:
    """Groups of one beam find the same sequence if nothing drives them apart."""
    options = {
        "num_beams": groups,
        "num_beam_groups": groups,
        "num_return_sequences": groups,
        "diversity_penalty": 1e-9,
    }
    assert len({tuple(path) for path in tokens_of(run_search(FakeModel(seed), options))}) == 1


@given(model_seeds, diverse())
def test_groups_know_only_those_before_them(seed: int, options: Options) -> None:
    """Another group changes nothing for the ones that were there."""
    size, groups = options["num_beams"] // options["num_beam_groups"], options["num_beam_groups"]
    model = FakeModel(seed)
    fewer, more = (
        Counter(
            (tuple(choice.token for choice in hypothesis.choices), hypothesis.score)
            for hypothesis in run_search(
                model,
                options
                | {
                    "num_beam_groups": count,
                    "num_beams": size * count,
                    "num_return_sequences": size * count,
                },
            )
        )
        for count in (groups, groups + 1)
    )
    assert fewer <= more


@pytest.mark.parametrize("penalty", [-100.0, 100.0])
@pytest.mark.parametrize("options", [BEAMS, DIVERSE])
def test_the_largest_length_penalties(options: Options, penalty: float) -> None:
    """Scores stay finite at the longest outputs."""
    model = FakeModel(1, towards_end=-20.0)
    sequences = run_search(model, options | {"length_penalty": penalty, "max_tokens": 128})
    assert all(np.isfinite(hypothesis.score) for hypothesis in sequences)
