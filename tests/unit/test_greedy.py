"""Greedy decoding on literal logits."""

from __future__ import annotations

import numpy as np
import pytest

from t5serve.decoding.greedy import Greedy, log_sum_exp

EOS = 1


def greedy(max_tokens: int = 8, suppressed: tuple[int, ...] = (0, 2)) -> Greedy:
    return Greedy(eos=EOS, suppressed=np.array(suppressed, np.intp), max_tokens=max_tokens)


def logits(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_takes_the_most_likely_token() -> None:
    """The largest logit wins, and the sequence goes on."""
    sequence = greedy()
    assert sequence.accept(logits(0, 0, 0, 1, 3)) == 4
    assert sequence.tokens == [4]
    assert sequence.finish_reason is None


def test_never_a_suppressed_token() -> None:
    """The best of the allowed tokens is taken when a suppressed one is better."""
    sequence = greedy()
    assert sequence.accept(logits(9, 0, 8, 1, 0)) == 3


def test_does_not_change_the_logits() -> None:
    """The logits may be the backend's own memory."""
    values = logits(9, 0, 8, 1, 0)
    greedy().accept(values)
    assert values.tolist() == [9, 0, 8, 1, 0]


def test_stops_at_eos() -> None:
    """`</s>` ends the sequence and is not part of it, but of its probability."""
    sequence = greedy()
    sequence.accept(logits(0, 0, 0, 5, 0))
    sequence.accept(logits(0, 5, 0, 0, 0))
    assert sequence.tokens == [3]
    assert sequence.finish_reason == "stop"
    assert sequence.decoded == 2
    one = 5 - np.log(np.exp(5) + 4)
    assert sequence.logprob == pytest.approx(2 * one)


def test_stops_at_max_tokens() -> None:
    """The last token that fits is kept."""
    sequence = greedy(max_tokens=2)
    for _ in range(2):
        sequence.accept(logits(0, 0, 0, 5, 0))
    assert sequence.tokens == [3, 3]
    assert sequence.finish_reason == "length"


def test_log_sum_exp_does_not_overflow() -> None:
    """Logits of uncalibrated files reach hundreds."""
    assert log_sum_exp(logits(800, 800)) == pytest.approx(800 + np.log(2))
    assert log_sum_exp(logits(-800, -800)) == pytest.approx(-800 + np.log(2))
