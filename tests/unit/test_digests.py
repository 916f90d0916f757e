"""Keys of results and of selections: equal only if all that decides is equal."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Cut, Generate, Judge
from t5serve.digests import digest
from t5serve.models import cached_judging
from t5serve.models.cached_engine import DELIVERY_FIELDS, key_of
from t5serve.reformulation.options import Options
from t5serve.reformulation.selector import DELIVERY_OPTIONS, Selector

MODEL = b"a loaded file"
CONFIG = GenerationConfig(
    max_tokens=8, num_beams=4, num_beam_groups=2, diversity_penalty=0.5, num_return_sequences=2
)
SAMPLES = GenerationConfig(max_tokens=8, do_sample=True, seed=1, num_return_sequences=2)
CHANGED_CONFIG: dict[str, Any] = {
    "max_tokens": 9,
    "do_sample": False,
    "num_return_sequences": 1,
    "early_stopping": "never",
    "num_beams": 6,
    "num_beam_groups": 4,
    "length_penalty": 0.5,
    "diversity_penalty": 0.25,
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.5,
    "typical_p": 0.5,
    "repetition_penalty": 2.0,
    "no_repeat_ngram_size": 2,
    "seed": 2,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": {3: 1.0},
    "top_logprobs": 0,
}
REQUEST = Generate(1, CONFIG, "how do i cook rice")
CHANGED_REQUEST: dict[str, Any] = {
    "job": 2,
    "config": SAMPLES,
    "text": "how do i cook  rice",
    "ids": [1],
    "stop": ["."],
    "stream": True,
    "turn": 7,
    "cut": Cut(0, 3, "left"),
}
JUDGE = Judge(1, "Query: a Document: b", "yes", "no", Cut(19, 20, "right"))
CHANGED_JUDGE: dict[str, Any] = {
    "job": 2,
    "text": "Query: a Document:  b",
    "positive": "Yes",
    "negative": 6,
    "cut": Cut(19, 20, "left"),
    "turn": 7,
}
OPTIONS = Options()
CHANGED_OPTIONS: dict[str, Any] = {
    "task": "fix",
    "n": 2,
    "separator": " ; ",
    "wants_more": True,
    "strategy": "beam",
    "parameters": {"num_beams": 4},
    "max_tokens": 5,
    "include_original": True,
    "default_num_beams": 4,
    "preserve": frozenset({"numbers"}),
    "terms": ("rice",),
    "history": ("what is rice",),
    "min_score": -1.0,
    "corrects": True,
    "leaves_alone": False,
    "min_difference": 0.5,
    "strict": True,
    "cache": False,
    "timeout_ms": 5,
    "for_keywords": Options(task="question"),
}


def changed(config: GenerationConfig, name: str) -> GenerationConfig:
    return msgspec.structs.replace(config, **{name: CHANGED_CONFIG[name]})


def test_the_tables_have_every_field() -> None:
    """A new field fails here until it is known whether it decides a result."""
    assert list(CHANGED_CONFIG) == list(GenerationConfig.__struct_fields__)
    assert list(CHANGED_REQUEST) == list(Generate.__struct_fields__)
    assert list(CHANGED_OPTIONS) == [field.name for field in fields(Options)]


@pytest.mark.parametrize("name", CHANGED_CONFIG)
def test_every_parameter_is_in_the_key(name: str) -> None:
    """Two generations that differ in one parameter have different keys."""
    base = CONFIG
    if name in ("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "seed"):
        base = GenerationConfig(max_tokens=8, do_sample=True, seed=1)
    if name == "num_beam_groups":
        base = changed(msgspec.structs.replace(base, num_beams=8), "diversity_penalty")
    other = changed(base, name)
    assert other != base
    keys = {key_of(MODEL, Generate(1, config, "a")) for config in (base, other)}
    assert len(keys) == 2


@pytest.mark.parametrize("name", CHANGED_REQUEST)
def test_every_field_of_a_request_is_in_the_key(name: str) -> None:
    """What decides a result changes its key; how it is delivered does not."""
    other = msgspec.structs.replace(REQUEST, **{name: CHANGED_REQUEST[name]})
    assert (key_of(MODEL, other) == key_of(MODEL, REQUEST)) is (name in DELIVERY_FIELDS)


def test_another_file_has_other_keys() -> None:
    """The identity of the loaded file is in the key."""
    assert key_of(MODEL, REQUEST) != key_of(b"another", REQUEST)


@pytest.mark.parametrize("name", CHANGED_OPTIONS)
def test_every_option_is_in_the_key_of_a_selection(name: str) -> None:
    """What decides a selection changes its key; how it is delivered does not."""
    selector = Selector()
    other = replace(OPTIONS, **{name: CHANGED_OPTIONS[name]})
    is_same = selector.key_of("a", "a", other) == selector.key_of("a", "a", OPTIONS)
    assert is_same is (name in DELIVERY_OPTIONS)


def test_queries_and_lexicons_are_in_the_key_of_a_selection() -> None:
    """The query, its correction, and whose selector it is: each changes the key."""
    selector = Selector()
    pairs = itertools.product("ab", repeat=2)
    keys = [selector.key_of(original, query, OPTIONS) for original, query in pairs]
    assert len({*keys, Selector().key_of("a", "a", OPTIONS)}) == 5


TEXTS = st.text(max_size=6)
REQUESTS = st.builds(
    Generate,
    st.just(0),
    st.one_of(
        st.builds(
            GenerationConfig,
            max_tokens=st.integers(1, 3),
            logit_bias=st.dictionaries(st.integers(0, 3), st.sampled_from([0.0, 1.0]), max_size=2),
        ),
        st.builds(
            GenerationConfig,
            max_tokens=st.integers(1, 3),
            do_sample=st.just(True),  # noqa: FBT003 - a strategy
            seed=st.integers(0, 2),
            top_k=st.integers(0, 2),
        ),
    ),
    st.none() | TEXTS,
    st.none() | st.lists(st.integers(0, 2), max_size=3),
    st.lists(TEXTS, max_size=2),
    cut=st.none() | st.builds(Cut, st.integers(0, 1), st.integers(0, 1), st.just("left")),
)


@given(REQUESTS, REQUESTS)
def test_keys_are_equal_only_if_requests_are(first: Generate, second: Generate) -> None:
    """No two different requests share a key, and equal ones always do."""
    assert (key_of(MODEL, first) == key_of(MODEL, second)) is (first == second)


VALUES = st.lists(
    st.one_of(
        st.none(), TEXTS, st.integers(-2, 2), st.frozensets(TEXTS, max_size=2),
        st.lists(TEXTS, max_size=2), st.dictionaries(TEXTS, st.integers(0, 2), max_size=2),
    ),
    max_size=3,
)  # fmt: skip


@given(VALUES)
def test_the_order_of_sets_and_mappings_does_not_count(values: list[Any]) -> None:
    """The same values in another order of insertion have the same digest."""
    again = [
        dict(reversed(value.items())) if isinstance(value, dict) else value for value in values
    ]
    assert digest(MODEL, again) == digest(MODEL, values)


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_what_can_not_be_encoded_has_no_digest(text: str) -> None:
    """Half a surrogate pair is an error, not somebody else's key."""
    with pytest.raises(ValueError, match="surrogate"):
        digest(MODEL, [text])


@pytest.mark.parametrize("name", Judge.__struct_fields__)
def test_a_field_of_a_judgement_decides_or_delivers(name: str) -> None:
    """A field that is new is in the key, unless it is named as one that only delivers."""
    changed = msgspec.structs.replace(JUDGE, **{name: CHANGED_JUDGE[name]})
    assert changed != JUDGE
    is_same = cached_judging.key_of(MODEL, changed) == cached_judging.key_of(MODEL, JUDGE)
    assert is_same == (name in cached_judging.DELIVERY_FIELDS)
    assert cached_judging.key_of(b"another file", JUDGE) != cached_judging.key_of(MODEL, JUDGE)
