"""What the values of a GGUF file's keys must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

INTEGER_END = 2**31
CHARSMAP = "tokenizer.ggml.precompiled_charsmap"


@dataclass(frozen=True)
class Rule:
    """What the value of a key must be.

    Attributes:
        is_valid: whether a value is right.
        expected: what is expected, in words.
        is_required: whether the key must be there.
    """

    is_valid: Callable[[Any], bool]
    expected: str
    is_required: bool = False


def _integer(low: int, high: int = INTEGER_END, *, required: bool = False) -> Rule:
    def is_valid(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value < high

    return Rule(is_valid, f"a whole number from {low} to {high - 1}", required)


def _is_epsilon(value: object) -> bool:
    return isinstance(value, float) and 0 <= value < 1


def _is_vector(kinds: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, np.ndarray) and value.dtype.kind in kinds


TEXT = Rule(lambda value: isinstance(value, str), "a text")
ON = Rule(lambda value: value is True, "true: a text ends with </s>")
OFF = Rule(lambda value: value is False, "false: a text has no first token of its own")
SWITCH = Rule(lambda value: isinstance(value, bool), "true or false")
TOKEN_ID = _integer(0)
RULES = {
    "general.name": TEXT,
    "general.alignment": Rule(
        lambda value: isinstance(value, int) and 8 <= value <= 65536 and value & (value - 1) == 0,
        "a power of two from 8 to 65536",
    ),
    "t5.context_length": _integer(1),
    "t5.block_count": _integer(1, required=True),
    "t5.decoder_block_count": _integer(1),
    "t5.embedding_length": _integer(1, 2**20, required=True),
    "t5.feed_forward_length": _integer(1, 2**22, required=True),
    "t5.attention.head_count": _integer(1, 2**16, required=True),
    "t5.attention.key_length": _integer(1, 2**16),
    "t5.attention.value_length": _integer(1, 2**16),
    "t5.attention.layer_norm_rms_epsilon": Rule(_is_epsilon, "from 0 to 1", is_required=True),
    "t5.attention.layer_norm_epsilon": Rule(_is_epsilon, "from 0 to 1"),
    "t5.attention.relative_buckets_count": _integer(4, 2**16, required=True),
    "t5.decoder_start_token_id": TOKEN_ID,
    "t5serve.vocab_size": _integer(1),
    "t5serve.logits_calibrated": SWITCH,
    "t5serve.relative_attention_max_distance": _integer(2),
    "tokenizer.ggml.pre": TEXT,
    "tokenizer.ggml.scores": Rule(_is_vector("f"), "an array of floats", is_required=True),
    "tokenizer.ggml.token_type": Rule(_is_vector("iu"), "an array of numbers", is_required=True),
    "tokenizer.ggml.add_space_prefix": SWITCH,
    "tokenizer.ggml.remove_extra_whitespaces": SWITCH,
    "tokenizer.ggml.add_bos_token": OFF,
    "tokenizer.ggml.add_eos_token": ON,
    CHARSMAP: Rule(
        lambda value: isinstance(value, np.ndarray) and value.dtype.itemsize == 1,
        "an array of bytes",
    ),
    "t5serve.tokenizer.cleans_up_spaces": SWITCH,
    "t5serve.tokenizer.added_ids": Rule(_is_vector("iu"), "an array of numbers"),
    "t5serve.tokenizer.added_flags": Rule(_is_vector("iu"), "an array of numbers"),
}
TOKEN_IDS = (
    "t5.decoder_start_token_id",
    *(
        f"tokenizer.ggml.{name}_token_id"
        for name in ("bos", "eos", "unknown", "padding", "seperator", "mask", "eot", "eom")
    ),
)
RULES |= dict.fromkeys(TOKEN_IDS, TOKEN_ID)
