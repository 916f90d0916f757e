"""The limits of generation parameters, and the width that follows from them."""

from __future__ import annotations

import pytest

from support.searching import BEAMS, GREEDY, SAMPLES, Options, make_config


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
        make_config(options)


@pytest.mark.parametrize(
    ("options", "width"),
    [(GREEDY, 1), (SAMPLES, 4), (BEAMS, 4), (BEAMS | {"num_return_sequences": 1}, 4)],
)
def test_the_width_is_what_decodes_at_once(options: Options, width: int) -> None:
    """Beams count, returned or not."""
    assert make_config(options).width == width
