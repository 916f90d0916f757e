"""What the tests of searches share: a fake model, checked runs, and strategies' options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.search import Branch, Hypothesis, Search, StopCondition
from t5engine.decoding.strategy import start_search

START, EOS = 0, 1
VOCAB = 7
Options = dict[str, Any]

GREEDY: Options = {}
SAMPLES: Options = {"do_sample": True, "seed": 5, "num_return_sequences": 4}
BEAMS: Options = {"num_beams": 4, "num_return_sequences": 4}
DIVERSE: Options = BEAMS | {"num_beam_groups": 2, "diversity_penalty": 0.7}
STRATEGIES = [GREEDY, SAMPLES, BEAMS, DIVERSE]

model_seeds = st.integers(0, 50)
lengths = st.integers(1, 8)
biases = st.dictionaries(st.integers(0, VOCAB - 1), st.floats(-3, 3), max_size=2)


class FakeModel:
    """A model whose logits are random, but always the same after the same tokens."""

    def __init__(self, seed: int, *, vocab: int = VOCAB, towards_end: float = 1.0) -> None:
        self._seed = seed
        self._vocab = vocab
        self._towards_end = towards_end
        self._known: dict[tuple[int, ...], F32] = {}

    def logits(self, tokens: tuple[int, ...]) -> F32:
        if tokens not in self._known:
            random = np.random.default_rng([self._seed, len(tokens), *tokens])
            logits = random.normal(0, 2, self._vocab).astype(np.float32)
            logits[EOS] += self._towards_end
            self._known[tokens] = logits
        return self._known[tokens]

    def log_probs(self, tokens: tuple[int, ...]) -> list[float]:
        """Returns the log-probabilities, computed in F64 by the formula."""
        logits = self.logits(tokens).astype(np.float64)
        log_probs: list[float] = (logits - np.log(np.exp(logits).sum())).tolist()
        return log_probs


def make_config(options: Options) -> GenerationConfig:
    """Makes a configuration; max_tokens is 8 by default."""
    defaults: Options = {"max_tokens": 8}
    return GenerationConfig(**defaults | options)


class Run:
    """Runs a search on a model, and checks what every search promises."""

    def __init__(
        self,
        model: FakeModel,
        options: Options,
        *,
        suppressed: Sequence[int] = (),
        should_stop: StopCondition | None = None,
        search: Search | None = None,
    ) -> None:
        self.config = make_config(options)
        self.steps: list[list[Branch]] = []
        self._model = model
        self._suppressed = suppressed
        self._should_stop = should_stop
        self._search = search or start_search(
            self.config,
            start=START,
            eos=EOS,
            suppressed=np.array(suppressed, np.intp),
            should_stop=should_stop,
        )
        self._running: list[tuple[int, ...]] = [(START,)]
        self._fed = set(self._running)
        self.settled: list[Hypothesis] = []

    def step(self) -> bool:
        """Advances by one step; returns whether the search goes on."""
        logits = [self._model.logits(tokens).copy() for tokens in self._running]
        branches = self._search.advance(logits)
        for tokens, row in zip(self._running, logits, strict=True):
            assert row.tolist() == self._model.logits(tokens).tolist()
            row[:] = np.nan  # the backend's memory, which the next step overwrites
        self.steps.append(branches)
        assert len(branches) <= self.config.width
        assert all(0 <= branch.parent < len(self._running) for branch in branches)
        assert not {branch.token for branch in branches} & {EOS, *self._suppressed}
        self._running = [(*self._running[parent], token) for parent, token in branches]
        self._fed.update(self._running)
        self._check_growth()
        return bool(branches)

    def finish(self) -> list[Hypothesis]:
        """Takes all remaining steps; returns the sequences."""
        while self.step():
            assert len(self.steps) < self.config.max_tokens
        assert 1 <= len(self.settled) <= self.config.num_return_sequences
        for hypothesis in self.settled:
            self._check_end(hypothesis)
            self._check_log_probs(hypothesis)
        return self.settled

    def _check_growth(self) -> None:
        settled = [
            Hypothesis(
                list(hypothesis.choices), hypothesis.score, hypothesis.finish_reason, hypothesis.eos
            )
            for hypothesis in self._search.settled
        ]
        for old, new in zip(self.settled, settled, strict=bool(self.settled)):
            assert new.choices[: len(old.choices)] == old.choices
            assert old.finish_reason is None or old == new
        self.settled = settled

    def _check_end(self, hypothesis: Hypothesis) -> None:
        last = hypothesis.choices[-1].token
        assert all(choice.token != EOS for choice in hypothesis.choices[:-1])
        assert not {choice.token for choice in hypothesis.choices[:-1]} & set(self._suppressed)
        stopped = last == EOS or (
            self._should_stop is not None and self._should_stop(hypothesis.tokens)
        )
        assert hypothesis.finish_reason == ("stop" if stopped else "length")
        assert stopped or len(hypothesis.choices) == self.config.max_tokens
        if self._should_stop is not None:
            assert not any(
                self._should_stop(hypothesis.tokens[:n]) for n in range(1, len(hypothesis.choices))
            )

    def _check_log_probs(self, hypothesis: Hypothesis) -> None:
        """By the model's own distribution, over the tokens that were fed."""
        for index, choice in enumerate(hypothesis.choices):
            before = (START, *hypothesis.tokens[:index])
            assert before in self._fed
            log_probs = self._model.log_probs(before)
            assert choice.logprob == pytest.approx(log_probs[choice.token], abs=1e-5)
            ranked = sorted(range(len(log_probs)), key=lambda token: -log_probs[token])
            expected = ranked[: self.config.top_logprobs or 0]
            if choice.token == EOS and not choice.top:
                continue  # a dead end: nothing was chosen
            assert [token for token, _ in choice.top] == expected
            assert [value for _, value in choice.top] == pytest.approx(
                [log_probs[token] for token in expected], abs=1e-5
            )


def run_search(model: FakeModel, options: Options, **arguments: Any) -> list[Hypothesis]:
    return Run(model, options, **arguments).finish()


def tokens_of(sequences: Sequence[Hypothesis]) -> list[list[int]]:
    """Returns the token ids of each sequence, with `</s>`."""
    return [[choice.token for choice in hypothesis.choices] for hypothesis in sequences]


def scores_of(sequences: Sequence[Hypothesis]) -> list[float]:
    return [hypothesis.score for hypothesis in sequences]


@st.composite
def beams(draw: st.DrawFn) -> Options:
    count = draw(st.integers(2, 6))
    return {
        "num_beams": count,
        "num_return_sequences": draw(st.integers(1, count)),
        "length_penalty": draw(st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0])),
        "early_stopping": draw(st.sampled_from([False, True, "never"])),
    }


@st.composite
def diverse(draw: st.DrawFn) -> Options:
    size, groups = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    return draw(beams()) | {
        "num_beams": size * groups,
        "num_return_sequences": draw(st.integers(1, size * groups)),
        "num_beam_groups": groups,
        "diversity_penalty": draw(st.sampled_from([0.1, 1.0, 100.0])),
    }


@st.composite
def samples(draw: st.DrawFn) -> Options:
    return {
        "do_sample": True,
        "num_return_sequences": draw(st.integers(1, 6)),
        "seed": draw(st.integers(0, 99)),
        "temperature": draw(st.sampled_from([0.0, 0.3, 1.0, 5.0])),
        "top_k": draw(st.sampled_from([0, 3])),
        "top_p": draw(st.sampled_from([0.6, 1.0])),
        "min_p": draw(st.sampled_from([0.0, 0.3])),
        "typical_p": draw(st.sampled_from([0.6, 1.0])),
    }


@st.composite
def any_options(draw: st.DrawFn) -> Options:
    strategy: Options = draw(st.one_of(st.just(GREEDY), samples(), beams(), diverse()))
    return strategy | {
        "max_tokens": draw(lengths),
        "repetition_penalty": draw(st.sampled_from([0.5, 1.0, 1.5])),
        "no_repeat_ngram_size": draw(st.integers(0, 3)),
        "presence_penalty": draw(st.sampled_from([0.0, 1.0])),
        "frequency_penalty": draw(st.sampled_from([0.0, -1.0])),
        "logit_bias": draw(biases),
        "top_logprobs": draw(st.sampled_from([None, 0, 1, 3, VOCAB, VOCAB + 2])),
    }
