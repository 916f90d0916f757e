"""Greedy decoding on literal logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from t5serve.decoding.greedy import Greedy, log_sum_exp

EOS = 1


Logits = npt.NDArray[np.float32]


def greedy(max_tokens: int = 8, suppressed: tuple[int, ...] = (0, 2)) -> Greedy:
    mask = np.isin(np.arange(5), suppressed)
    return Greedy(eos=EOS, suppressed=mask, max_tokens=max_tokens)


def logits(*values: float) -> Logits:
    return np.array(values, np.float32)


def accept(sequence: Greedy, values: Logits) -> int:
    """Feeds a sequence as a backend does."""
    best = int(values.argmax())
    return sequence.accept(best, float(values[best]) - log_sum_exp(values), lambda: values)


def test_takes_the_most_likely_token() -> None:
    """The largest logit wins, and the sequence goes on."""
    sequence = greedy()
    assert accept(sequence, logits(0, 0, 0, 1, 3)) == 4
    assert sequence.tokens == [4]
    assert sequence.finish_reason is None


def test_never_a_suppressed_token() -> None:
    """The best of the allowed tokens is taken when a suppressed one is better."""
    sequence = greedy()
    values = logits(9, 0, 8, 1, 0)
    assert accept(sequence, values) == 3
    assert sequence.logprob == pytest.approx(1 - log_sum_exp(values))


def test_asks_for_logits_only_when_it_must() -> None:
    """A step whose best token is allowed brings back that token and nothing else."""

    def unwanted() -> Logits:
        raise AssertionError("the logits were asked for")

    assert greedy().accept(4, -0.1, unwanted) == 4


def test_does_not_change_the_logits() -> None:
    """The logits may be the backend's own memory."""
    values = logits(9, 0, 8, 1, 0)
    accept(greedy(), values)
    assert values.tolist() == [9, 0, 8, 1, 0]


def test_stops_at_eos() -> None:
    """`</s>` ends the sequence and is not part of it, but of its probability."""
    sequence = greedy()
    accept(sequence, logits(0, 0, 0, 5, 0))
    accept(sequence, logits(0, 5, 0, 0, 0))
    assert sequence.tokens == [3]
    assert sequence.finish_reason == "stop"
    assert sequence.decoded == 2
    one = 5 - np.log(np.exp(5) + 4)
    assert sequence.logprob == pytest.approx(2 * one)


def test_stops_at_max_tokens() -> None:
    """The last token that fits is kept."""
    sequence = greedy(max_tokens=2)
    for _ in range(2):
        accept(sequence, logits(0, 0, 0, 5, 0))
    assert sequence.tokens == [3, 3]
    assert sequence.finish_reason == "length"


def test_log_sum_exp_does_not_overflow() -> None:
    """Logits of uncalibrated files reach hundreds."""
    assert log_sum_exp(logits(800, 800)) == pytest.approx(800 + np.log(2))
    assert log_sum_exp(logits(-800, -800)) == pytest.approx(-800 + np.log(2))
