"""Every strategy, on a model that is a function of the tokens so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t5engine.decoding.beam import BeamSearch
from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.processors import Processors
from t5engine.decoding.search import Branch, Ends, Hypothesis, Rules, Search
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
    """Draws the logits after each sequence of tokens, always the same ones."""

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
        """In F64, by the formula."""
        logits = self.logits(tokens).astype(np.float64)
        found: list[float] = (logits - np.log(np.exp(logits).sum())).tolist()
        return found


def configured(options: Options) -> GenerationConfig:
    """Of eight tokens at most, if the options do not say otherwise."""
    defaults: Options = {"max_tokens": 8}
    return GenerationConfig(**defaults | options)


class Run:
    """A search on its way through a model, held to what every search promises."""

    def __init__(
        self,
        model: FakeModel,
        options: Options,
        *,
        suppressed: Sequence[int] = (),
        ends: Ends | None = None,
        search: Search | None = None,
    ) -> None:
        self.config = configured(options)
        self.steps: list[list[Branch]] = []
        self._model = model
        self._suppressed = suppressed
        self._ends = ends
        self._search = search or start_search(
            self.config,
            start=START,
            eos=EOS,
            suppressed=np.array(suppressed, np.intp),
            ends=ends,
        )
        self._running: list[tuple[int, ...]] = [(START,)]
        self._fed = set(self._running)
        self.settled: list[Hypothesis] = []

    def step(self) -> bool:
        """One step; whether the search goes on."""
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
        """All that is left; the sequences."""
        while self.step():
            assert len(self.steps) < self.config.max_tokens
        assert 1 <= len(self.settled) <= self.config.num_return_sequences
        for one in self.settled:
            self._check_end(one)
            self._check_log_probs(one)
        return self.settled

    def _check_growth(self) -> None:
        now = [
            Hypothesis(list(one.choices), one.score, one.finish_reason, one.eos)
            for one in self._search.settled
        ]
        for old, new in zip(self.settled, now, strict=bool(self.settled)):
            assert new.choices[: len(old.choices)] == old.choices
            assert old.finish_reason is None or old == new
        self.settled = now

    def _check_end(self, one: Hypothesis) -> None:
        last = one.choices[-1].token
        assert all(choice.token != EOS for choice in one.choices[:-1])
        assert not {choice.token for choice in one.choices[:-1]} & set(self._suppressed)
        stopped = last == EOS or (self._ends is not None and self._ends(one.tokens))
        assert one.finish_reason == ("stop" if stopped else "length")
        assert stopped or len(one.choices) == self.config.max_tokens
        if self._ends is not None:
            assert not any(self._ends(one.tokens[:n]) for n in range(1, len(one.choices)))

    def _check_log_probs(self, one: Hypothesis) -> None:
        """By the model's own distribution, over the tokens that were fed."""
        for place, choice in enumerate(one.choices):
            before = (START, *one.tokens[:place])
            assert before in self._fed
            log_probs = self._model.log_probs(before)
            assert choice.logprob == pytest.approx(log_probs[choice.token], abs=1e-5)
            ranked = sorted(range(len(log_probs)), key=lambda token: -log_probs[token])
            wanted = ranked[: self.config.top_logprobs or 0]
            if choice.token == EOS and not choice.top:
                continue  # a dead end: nothing was chosen
            assert [token for token, _ in choice.top] == wanted
            assert [value for _, value in choice.top] == pytest.approx(
                [log_probs[token] for token in wanted], abs=1e-5
            )


def found(model: FakeModel, options: Options, **rest: Any) -> list[Hypothesis]:
    return Run(model, options, **rest).finish()


def tokens_of(sequences: Sequence[Hypothesis]) -> list[list[int]]:
    """With `</s>`."""
    return [[choice.token for choice in one.choices] for one in sequences]


def scores_of(sequences: Sequence[Hypothesis]) -> list[float]:
    return [one.score for one in sequences]


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


@given(model_seeds, any_options(), st.sets(st.integers(0, VOCAB - 1)))
@settings(max_examples=200)
def test_what_every_search_promises(seed: int, options: Options, suppressed: set[int]) -> None:
    """Valid branches, reasons to end, the model's own log-probabilities: `Run` checks them."""
    sequences = found(FakeModel(seed), options, suppressed=sorted(suppressed))
    again = found(FakeModel(seed), options, suppressed=sorted(suppressed))
    assert sequences == again


@given(model_seeds, any_options(), st.integers(2, VOCAB - 1), st.integers(1, 4))
def test_a_stop_predicate_ends_sequences(
    seed: int, options: Options, token: int, count: int
) -> None:
    """In every strategy, at the token that fulfils it, and none goes on."""

    def ends(tokens: Sequence[int]) -> bool:
        return token in tokens or len(tokens) >= count

    for one in found(FakeModel(seed, towards_end=-2.0), options, ends=ends):
        assert token not in one.tokens[:-1]
        assert len(one.choices) <= count


@given(model_seeds, lengths)
def test_greedy_takes_the_best_token(seed: int, length: int) -> None:
    """Until `</s>`, or as many as may be."""
    model = FakeModel(seed)
    path: list[int] = []
    while EOS not in path and len(path) < length:
        path.append(int(model.logits((START, *path)).argmax()))
    assert tokens_of(found(model, {"max_tokens": length})) == [path]


@given(model_seeds, lengths)
def test_one_beam_is_greedy(seed: int, length: int) -> None:
    """So are beam search itself, if its first sequence ends it, and sampling at temperature 0."""
    model = FakeModel(seed)
    greedy = found(model, {"max_tokens": length})
    one_beam: Options = {"max_tokens": length, "num_beams": 1, "early_stopping": True}
    assert found(model, one_beam) == greedy
    config = configured(one_beam)
    none = np.array([], np.intp)
    processors = Processors(config, start=START, suppressed=none)
    search = BeamSearch(Rules(config, processors, EOS, None))
    assert tokens_of(found(model, one_beam, search=search)) == tokens_of(greedy)
    cold = {"max_tokens": length, "do_sample": True, "temperature": 0.0, "seed": seed}
    assert found(model, cold) == greedy
    several = found(model, cold | {"num_return_sequences": 3})
    assert several == greedy * 3


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
    sequences = found(
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
    """Its probabilities are given; tokens that are not in the table have those of the start."""

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
    sequences = found(
        model, options | {"max_tokens": 3, "num_return_sequences": count, "length_penalty": 0.0}
    )
    expected = [[2, EOS], [2, 4, 2]]
    assert tokens_of(sequences) == [path for path in expected for _ in range(count // 2)]


@given(model_seeds, st.one_of(beams(), diverse()), lengths)
def test_the_best_come_first(seed: int, options: Options, length: int) -> None:
    """Scores do not increase, are the normalised sums, and as many come as were asked for."""
    # Enough tokens for every beam of the first step.
    model = FakeModel(seed, vocab=30)
    sequences = found(model, options | {"max_tokens": length})
    scores = scores_of(sequences)
    assert scores == sorted(scores, reverse=True)
    assert len(sequences) == options["num_return_sequences"]
    if "num_beam_groups" not in options:
        sums = [one.logprob / len(one.choices) ** options["length_penalty"] for one in sequences]
        assert scores == pytest.approx(sums, rel=1e-4)
        assert len({tuple(path) for path in tokens_of(sequences)}) == len(sequences)


@given(model_seeds, st.one_of(beams(), diverse()), lengths)
def test_fewer_returned_are_the_first_of_more(seed: int, options: Options, length: int) -> None:
    """How many come back does not change the search."""
    model = FakeModel(seed)
    options = options | {"max_tokens": length}
    every = found(model, options | {"num_return_sequences": options["num_beams"]})
    assert found(model, options) == every[: options["num_return_sequences"]]


@given(model_seeds, st.sampled_from(STRATEGIES))
def test_neutral_options_change_nothing(seed: int, options: Options) -> None:
    """Neither do those that another strategy has."""
    model = FakeModel(seed)
    plain = found(model, options)
    neutral: list[Options] = [
        {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
        {"no_repeat_ngram_size": 10, "logit_bias": {2: 0.0, 3: 0.0}},
        {"top_k": VOCAB, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0},
        {"length_penalty": 2.0} if "num_beams" not in options else {"top_k": 1, "min_p": 1.0},
        {"temperature": 0.1} if "do_sample" not in options else {"early_stopping": True},
    ]
    for more in neutral:
        assert found(model, options | more) == plain


@pytest.mark.parametrize("options", STRATEGIES)
def test_nothing_is_allowed(options: Options) -> None:
    """Where not one token may come, an empty sequence does, and nothing breaks."""
    sequences = found(FakeModel(0), options, suppressed=range(VOCAB))
    assert {tuple(one.tokens) for one in sequences} == {()}
    assert {one.finish_reason for one in sequences} == {"stop"}


@pytest.mark.parametrize("options", STRATEGIES)
def test_only_the_end_is_allowed(options: Options) -> None:
    """Every sequence is empty."""
    sequences = found(FakeModel(0), options, suppressed=[0, *range(2, VOCAB)])
    assert {tuple(one.tokens) for one in sequences} == {()}
    assert all(np.isfinite(one.score) for one in sequences)


@pytest.mark.parametrize("options", STRATEGIES)
@given(seed=model_seeds)
@settings(max_examples=20)
def test_sequences_run_out_of_tokens(seed: int, options: Options) -> None:
    """If none may come twice, and the end never, all end when none is left."""
    model = FakeModel(seed)
    sequences = found(
        model, options | {"max_tokens": 20, "no_repeat_ngram_size": 1}, suppressed=[EOS]
    )
    for one in sequences:
        assert sorted(one.tokens) == list(range(2, VOCAB))
        assert one.finish_reason == "stop"
        assert np.isfinite(one.score)


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
    assert len({tuple(one.tokens[:1]) for one in sequences if one.tokens}) == sum(
        bool(one.tokens) for one in sequences
    )


@given(model_seeds, st.integers(2, 4))
def test_a_faint_penalty_parts_nobody(seed: int, groups: int) -> None:
    """Groups of one beam find the same sequence if nothing drives them apart."""
    options = {
        "num_beams": groups,
        "num_beam_groups": groups,
        "num_return_sequences": groups,
        "diversity_penalty": 1e-9,
    }
    assert len({tuple(path) for path in tokens_of(found(FakeModel(seed), options))}) == 1


@given(model_seeds, diverse())
def test_groups_know_only_those_before_them(seed: int, options: Options) -> None:
    """Another group changes nothing for the ones that were there."""
    size, groups = options["num_beams"] // options["num_beam_groups"], options["num_beam_groups"]
    model = FakeModel(seed)
    fewer, more = (
        Counter(
            (tuple(choice.token for choice in one.choices), one.score)
            for one in found(
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


@given(model_seeds, st.integers(0, 2**63 - 1))
def test_seeds_reproduce_whatever_else_happens(seed: int, other: int) -> None:
    """Other searches in between, other numbers of sequences and NumPy's own state do not matter."""
    model = FakeModel(seed)
    options = SAMPLES | {"seed": other}
    alone = found(model, options)
    fewer = found(model, options | {"num_return_sequences": 2})
    assert fewer == alone[:2]
    np.random.seed(seed)  # noqa: NPY002 - on purpose
    run = Run(model, options)
    between = [Run(model, one) for one in STRATEGIES]
    while run.step():
        for one in list(between):
            if not one.step():
                between.remove(one)
    assert run.settled == alone


def test_without_a_seed_draws_differ() -> None:
    """Thirty tokens do not come out the same twice."""
    model = FakeModel(3, towards_end=-20.0)
    options = {"do_sample": True, "max_tokens": 30, "num_return_sequences": 3}
    paths = tokens_of(found(model, options) + found(model, options))
    assert len({tuple(path) for path in paths}) == 6


@pytest.mark.parametrize("penalty", [-100.0, 100.0])
@pytest.mark.parametrize("options", [BEAMS, DIVERSE])
def test_the_largest_length_penalties(options: Options, penalty: float) -> None:
    """Scores stay finite at the longest outputs."""
    model = FakeModel(1, towards_end=-20.0)
    sequences = found(model, options | {"length_penalty": penalty, "max_tokens": 128})
    assert all(np.isfinite(one.score) for one in sequences)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"num_beams": 0}, "num_beams"),
        ({"num_beams": 21}, "num_beams"),
        ({"num_return_sequences": 0}, "num_return_sequences"),
        ({"num_return_sequences": 2}, "num_return_sequences"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences"),
        ({"num_beams": 2, "num_beam_groups": 3, "diversity_penalty": 1.0}, "num_beam_groups"),
        ({"num_beams": 3, "num_beam_groups": 2, "diversity_penalty": 1.0}, "num_beam_groups"),
        ({"num_beams": 2, "num_beam_groups": 2}, "diversity_penalty"),
        ({"num_beams": 2, "do_sample": True}, "do_sample"),
        ({"length_penalty": 101.0}, "length_penalty"),
        ({"diversity_penalty": -0.1}, "diversity_penalty"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"min_p": 1.1}, "min_p"),
        ({"typical_p": 0.0}, "typical_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty"),
        ({"presence_penalty": float("inf")}, "presence_penalty"),
        ({"frequency_penalty": 101.0}, "frequency_penalty"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size"),
        ({"logit_bias": {3: float("nan")}}, "logit_bias"),
        ({"seed": -1}, "seed"),
        ({"top_logprobs": -1}, "top_logprobs"),
    ],
)
def test_what_can_not_be_done_is_refused(options: Options, name: str) -> None:
    """By the name of the parameter."""
    with pytest.raises(ValueError, match=name):
        configured(options)


@pytest.mark.parametrize(
    ("options", "width"),
    [(GREEDY, 1), (SAMPLES, 4), (BEAMS, 4), (BEAMS | {"num_return_sequences": 1}, 4)],
)
def test_the_width_is_what_decodes_at_once(options: Options, width: int) -> None:
    """Beams count, returned or not."""
    assert configured(options).width == width
