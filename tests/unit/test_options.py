"""Decoding parameters from the options of a request and the defaults of a recipe."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from t5engine.decoding.parameters import MAX_WIDTH, GenerationConfig
from t5gguf.recipe import Generation
from t5gguf.tasks import Task
from t5serve.errors import InvalidRequest
from t5serve.http.schemas.body import MAX_N
from t5serve.http.schemas.reformulate import ReformulateRequest
from t5serve.reformulation.guards.guards import PRESERVED
from t5serve.reformulation.options import Options, Strategy, decoding_of
from t5serve.reformulation.profile import Profile

BARE = Generation(max_tokens=32)
STRATEGIES: tuple[Strategy, ...] = ("auto", "greedy", "beam", "diverse_beam", "sample")
NAMED: dict[str, st.SearchStrategy[Any]] = {
    "num_beams": st.integers(1, MAX_WIDTH),
    "num_beam_groups": st.integers(1, MAX_WIDTH),
    "length_penalty": st.floats(-100, 100),
    "diversity_penalty": st.floats(0, 100),
    "temperature": st.floats(0, 100),
    "top_k": st.integers(0, 2**31 - 1),
    "top_p": st.floats(0, 1, exclude_min=True),
    "min_p": st.floats(0, 1),
    "typical_p": st.floats(0, 1, exclude_min=True),
    "repetition_penalty": st.floats(0.01, 100),
    "no_repeat_ngram_size": st.integers(0, 200),
}
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **NAMED,
    "n": st.integers(1, MAX_N),
    "strategy": st.sampled_from(STRATEGIES),
    "seed": st.integers(0, 2**63 - 1),
    "max_tokens": st.integers(1, 128),
    "include_original": st.booleans(),
    "preserve": st.lists(st.sampled_from(sorted(PRESERVED)), max_size=16),
    "min_difference": st.floats(0, 1),
    "strict": st.booleans(),
}
DEFAULTS: dict[str, st.SearchStrategy[Any]] = {
    **{name: st.none() | values for name, values in NAMED.items()},
    "diversity_penalty": st.none() | st.floats(0, 100, exclude_min=True),
    "strategy": st.sampled_from(STRATEGIES),
    "max_tokens": st.integers(1, 128),
}


def decoding(
    defaults: Generation = BARE, *, n: int = 1, strategy: Strategy = "auto", **parameters: object
) -> GenerationConfig:
    return decoding_of(Options(n=n, strategy=strategy, parameters=parameters), defaults)


def strategy_of(config: GenerationConfig) -> Strategy:
    """Returns the strategy of the engine for these parameters."""
    if config.do_sample:
        return "sample"
    if config.num_beam_groups > 1:
        return "diverse_beam"
    return "beam" if config.num_beams > 1 else "greedy"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(), GenerationConfig(max_tokens=32)),
        (Options(strategy="greedy", max_tokens=5), GenerationConfig(max_tokens=5)),
        (
            Options(strategy="beam"),
            GenerationConfig(max_tokens=32, num_beams=4, num_return_sequences=4),
        ),
        (
            Options(strategy="beam", n=4),
            GenerationConfig(max_tokens=32, num_beams=8, num_return_sequences=8),
        ),
        (
            Options(strategy="beam", parameters={"num_beams": 1}),
            GenerationConfig(max_tokens=32),
        ),
        (
            Options(strategy="diverse_beam", n=4),
            GenerationConfig(
                max_tokens=32,
                num_beams=8,
                num_beam_groups=8,
                num_return_sequences=8,
                diversity_penalty=1.0,
            ),
        ),
        (
            Options(strategy="diverse_beam", n=4, parameters={"num_beam_groups": 4}),
            GenerationConfig(
                max_tokens=32,
                num_beams=8,
                num_beam_groups=4,
                num_return_sequences=8,
                diversity_penalty=1.0,
            ),
        ),
        (
            Options(strategy="sample"),
            GenerationConfig(max_tokens=32, do_sample=True, top_k=50),
        ),
        (
            Options(strategy="sample", n=3, parameters={"seed": 5, "top_k": 0, "temperature": 0.5}),
            GenerationConfig(
                max_tokens=32,
                do_sample=True,
                num_return_sequences=8,
                temperature=0.5,
                seed=5,
            ),
        ),
    ],
)
def test_every_strategy(options: Options, expected: GenerationConfig) -> None:
    """Hugging Face's defaults apply, with more candidates than reformulations."""
    assert decoding_of(options, BARE) == expected


@pytest.mark.parametrize(
    ("n", "parameters", "default", "expected"),
    [
        (1, {}, "auto", "greedy"),
        (1, {}, "greedy", "greedy"),
        (1, {}, "beam", "beam"),
        (1, {}, "sample", "sample"),
        (3, {}, "auto", "diverse_beam"),
        (3, {}, "greedy", "diverse_beam"),
        (3, {}, "beam", "beam"),
        (3, {}, "sample", "sample"),
        (1, {"temperature": 0.7}, "auto", "sample"),
        (1, {"top_k": 5}, "beam", "sample"),
        (3, {"top_p": 0.9}, "auto", "sample"),
        (3, {"min_p": 0.1}, "diverse_beam", "sample"),
        (3, {"typical_p": 0.9}, "diverse_beam", "sample"),
        (1, {"num_beams": 4}, "auto", "beam"),
        (1, {"length_penalty": 2.0}, "sample", "beam"),
        (3, {"num_beams": 4}, "auto", "diverse_beam"),
        (1, {"num_beam_groups": 2}, "auto", "diverse_beam"),
        (1, {"diversity_penalty": 0.5}, "beam", "diverse_beam"),
        (1, {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "seed": 1}, "auto", "greedy"),
        (1, {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "num_beams": 1}, "auto", "greedy"),
        (1, {"temperature": 0}, "auto", "greedy"),
    ],
)
def test_auto(n: int, parameters: dict[str, Any], default: Strategy, expected: Strategy) -> None:
    """The parameters choose the strategy, then the recipe, then the number of reformulations."""
    config = decoding(Generation(strategy=default), n=n, **parameters)
    assert strategy_of(config) == expected


@pytest.mark.parametrize(
    "options",
    [
        Options(include_original=True),
        Options(min_difference=0.1),
        Options(preserve=frozenset(PRESERVED)),
    ],
)
def test_one_that_may_be_dropped_has_others_behind_it(options: Options) -> None:
    """Greedy decoding has no next best: auto searches beams if a candidate can be dropped."""
    assert strategy_of(decoding_of(options, BARE)) == "beam"


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("greedy", {"repetition_penalty": 1.3}),
        ("beam", {"num_beams": 6, "length_penalty": 0.5, "repetition_penalty": 1.3}),
        (
            "diverse_beam",
            {
                "num_beams": 6,
                "num_beam_groups": 3,
                "diversity_penalty": 0.25,
                "length_penalty": 0.5,
                "repetition_penalty": 1.3,
            },
        ),
        ("sample", {"temperature": 0.7, "top_k": 10, "top_p": 0.9, "repetition_penalty": 1.3}),
    ],
)
def test_a_recipe_s_defaults(strategy: Strategy, expected: dict[str, Any]) -> None:
    """Defaults of the strategy apply where the request sets nothing; other defaults do not."""
    defaults = Generation(
        max_tokens=20,
        num_beams=6,
        num_beam_groups=3,
        length_penalty=0.5,
        diversity_penalty=0.25,
        temperature=0.7,
        top_k=10,
        top_p=0.9,
        repetition_penalty=1.3,
    )
    config = decoding(defaults, strategy=strategy)
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.max_tokens == 20
    neutral = GenerationConfig(max_tokens=20)
    set_fields = {*expected, "max_tokens", "do_sample", "num_return_sequences"}
    others = set(neutral.__struct_fields__) - set_fields
    assert all(getattr(config, name) == getattr(neutral, name) for name in others)


def test_what_is_given_overrules_the_recipe() -> None:
    """A neutral value in the request also overrides the recipe."""
    defaults = Generation(temperature=0.7, top_k=10, repetition_penalty=1.3, max_tokens=20)
    config = decoding(defaults, strategy="sample", top_k=0, temperature=2.0, repetition_penalty=1.0)
    assert (config.top_k, config.temperature, config.repetition_penalty) == (0, 2.0, 1.0)
    assert decoding_of(Options(max_tokens=7), defaults).max_tokens == 7


@pytest.mark.parametrize(
    ("strategy", "parameters"),
    [
        ("greedy", {"num_beams": 4}),
        ("greedy", {"temperature": 0.5}),
        ("greedy", {"top_k": 5}),
        ("greedy", {"length_penalty": 2.0}),
        ("beam", {"temperature": 0.5}),
        ("beam", {"top_p": 0.5}),
        ("beam", {"num_beam_groups": 2}),
        ("beam", {"diversity_penalty": 1.0}),
        ("diverse_beam", {"min_p": 0.5}),
        ("sample", {"num_beams": 2}),
        ("sample", {"length_penalty": 0.0}),
        ("sample", {"diversity_penalty": 1.0}),
    ],
)
def test_what_has_no_effect_is_refused(strategy: Strategy, parameters: dict[str, Any]) -> None:
    """A parameter of another strategy is refused, and the error names it."""
    (name,) = parameters
    with pytest.raises(
        InvalidRequest, match=f"{name} has no effect with strategy {strategy}"
    ) as raised:
        decoding(strategy=strategy, **parameters)
    assert raised.value.param == name


@pytest.mark.parametrize("strategy", ["greedy", "beam", "diverse_beam", "sample"])
def test_neutral_values_are_no_mistake(strategy: Strategy) -> None:
    """A client can send every parameter at its neutral value."""
    neutral: dict[str, Any] = {
        "temperature": 1.0,
        "top_p": 1.0,
        "min_p": 0.0,
        "length_penalty": 1.0,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
    }
    assert decoding(strategy=strategy, **neutral) == decoding(strategy=strategy)


@pytest.mark.parametrize("strategy", ["beam", "diverse_beam"])
def test_fewer_beams_than_reformulations_are_refused(strategy: Strategy) -> None:
    """3 beams can't hold 4 candidates."""
    with pytest.raises(InvalidRequest, match="at least n = 4") as raised:
        decoding(n=4, strategy=strategy, num_beams=3)
    assert raised.value.param == "num_beams"
    assert decoding(n=4, strategy=strategy, num_beams=4).num_return_sequences == 4


def test_greedy_gives_one() -> None:
    """Greedy decoding of more than one reformulation is refused."""
    with pytest.raises(InvalidRequest) as raised:
        decoding(n=2, strategy="greedy")
    assert raised.value.param == "n"


@pytest.mark.parametrize(
    "parameters",
    [
        {"num_beams": 4, "num_beam_groups": 3},
        {"num_beams": 4, "num_beam_groups": 5},
        {"num_beams": 1, "num_beam_groups": 2},
        {"diversity_penalty": 0.0},
        {"num_beams": 4, "temperature": 0.5},
    ],
)
def test_what_excludes_each_other_is_refused(parameters: dict[str, Any]) -> None:
    """Unequal groups, groups without a penalty and sampled beams are refused."""
    with pytest.raises(InvalidRequest):
        decoding(strategy="diverse_beam", **parameters)


@pytest.mark.parametrize("strategy", ["beam", "diverse_beam", "sample"])
@pytest.mark.parametrize("n", range(1, MAX_N + 1))
def test_spare_candidates(strategy: Strategy, n: int) -> None:
    """There are half as many spare candidates as reformulations, up to the usual batch."""
    for options in (
        Options(n=n, strategy=strategy),
        Options(n=n, strategy=strategy, min_difference=1),
    ):
        config = decoding_of(options, BARE)
        assert n <= config.num_return_sequences <= config.width <= MAX_WIDTH
        if n > 1 or options.can_drop:
            assert config.num_return_sequences >= min(1.5 * n, 16)


def test_any_number_of_groups_that_fits_is_served() -> None:
    """If only the groups are set, the number of beams is a multiple of the groups."""
    refused = []
    for n, groups in product(range(1, MAX_N + 1), range(1, MAX_WIDTH + 1)):
        if MAX_WIDTH // groups * groups < n:
            continue
        try:
            config = decoding(n=n, strategy="diverse_beam", num_beam_groups=groups)
        except InvalidRequest:
            refused.append((n, groups))
        else:
            assert config.num_beam_groups == groups
            assert config.num_return_sequences >= n
    assert refused == []


@settings(deadline=None, max_examples=500)
@given(
    st.fixed_dictionaries({}, optional=FIELDS),
    st.fixed_dictionaries({}, optional=DEFAULTS),
)
def test_every_valid_request_is_decoded_or_refused(
    fields: dict[str, Any], defaults: dict[str, Any]
) -> None:
    """Any valid request with any recipe has decoding parameters for n candidates, or is refused."""
    try:
        body = ReformulateRequest.model_validate({"query": "q", **fields})
    except ValidationError as error:
        pytest.fail(f"the schema takes less than it says: {error}")
    options = body.options(1000, Profile.of_prefixes({}, Generation()))
    generation = Generation(**defaults)
    try:
        config = decoding_of(options, generation)
    except InvalidRequest:
        return
    assert options.n <= config.num_return_sequences <= config.width <= MAX_WIDTH
    assert config.max_tokens == fields.get("max_tokens", generation.max_tokens)
    if options.strategy != "auto" and strategy_of(config) != "greedy":
        assert strategy_of(config) == options.strategy or config.num_beam_groups == 1
    for name, value in options.parameters.items():
        if value != getattr(GenerationConfig(max_tokens=1), name):
            assert getattr(config, name) == value or (name, value) in {
                ("temperature", 0),
                ("num_beams", 1),
            }


def test_groups_that_fit_no_number_of_beams() -> None:
    """15 candidates in 7 groups need 21 beams: refused, or the recipe's groups are dropped."""
    with pytest.raises(InvalidRequest, match="has no multiple") as raised:
        decoding(n=15, num_beam_groups=7)
    assert raised.value.param == "num_beam_groups"
    config = decoding(Generation(num_beam_groups=7), n=15)
    assert (config.num_beams, config.num_beam_groups) == (16, 16)


LISTS = Task(separator=" ; ", n=5)


@pytest.mark.parametrize(
    ("fields", "strategy", "sequences", "width"),
    [
        ({}, "greedy", 1, 1),
        ({"n": 1}, "greedy", 1, 1),
        ({"n": 3}, "beam", 3, 8),
        ({"n": 3, "strategy": "greedy"}, "greedy", 1, 1),
        ({"n": 3, "num_beams": 2}, "beam", 2, 2),
        ({"num_beams": 2}, "beam", 1, 2),
        ({"n": 3, "strategy": "diverse_beam"}, "diverse_beam", 3, 8),
        ({"strategy": "sample"}, "sample", 1, 1),
        ({"terms": ["a"]}, "beam", 1, 4),
        ({"n": 3, "terms": ["a"]}, "beam", 3, 16),
    ],
)
def test_a_list_is_one_sequence_unless_the_request_asks_for_more(
    fields: dict[str, Any], strategy: Strategy, sequences: int, width: int
) -> None:
    """The task's own n bounds the list; the request's n also asks for further sequences."""
    body = ReformulateRequest.model_validate({"query": "q", **fields})
    options = body.options(1000, Profile({"search": LISTS}, Generation()))
    config = decoding_of(options, Generation())
    assert options.n == fields.get("n", 5)
    assert (strategy_of(config), options.sequences, config.width) == (strategy, sequences, width)
    assert config.top_logprobs == 0


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_a_task_without_a_separator_decodes_as_many_as_it_returns(fields: dict[str, Any]) -> None:
    """There a sequence is a reformulation, and no token's text is asked for."""
    body = ReformulateRequest.model_validate({"query": "q", **fields})
    options = body.options(1000, Profile.of_prefixes({}, Generation()))
    assert options.sequences == options.n
    try:
        config = decoding_of(options, Generation())
    except InvalidRequest:
        return
    assert config.top_logprobs is None


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"num_beams": 5, "num_beam_groups": 2}, "num_beams"),
        ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0}, "diversity_penalty"),
    ],
)
def test_parameters_that_exclude_each_other_name_one(
    parameters: dict[str, Any], param: str
) -> None:
    """A refusal of the engine's names the parameter at fault."""
    options = Options(n=2, strategy="diverse_beam", parameters=parameters)
    with pytest.raises(InvalidRequest, match=f"^{param} ") as raised:
        decoding_of(options, BARE)
    assert raised.value.param == param
