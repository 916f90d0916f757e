"""Random generations for the tests of decoding: configurations and inputs."""

from __future__ import annotations

import random
from typing import Any

from support.decoding import EOS, QUERIES
from t5engine.decoding.parameters import GenerationConfig
from t5engine.worker.model import Model


def draw_config(chance: random.Random) -> GenerationConfig:
    """Any strategy, of up to six sequences."""
    options: dict[str, Any] = {
        "max_tokens": chance.randint(1, 20),
        "repetition_penalty": chance.choice([1.0, 1.0, 1.3]),
        "no_repeat_ngram_size": chance.choice([0, 0, 2]),
        "top_logprobs": chance.choice([None, None, 0, 3]),
    }
    match chance.randrange(4):
        case 0:
            options |= {}
        case 1:
            options |= {
                "do_sample": True,
                "num_return_sequences": chance.randint(1, 6),
                "seed": chance.randrange(1000),
                "temperature": chance.choice([0.7, 1.5]),
                "top_p": chance.choice([0.9, 1.0]),
                "presence_penalty": chance.choice([0.0, 0.5]),
            }
        case 2:
            count = chance.randint(2, 6)
            options |= {"num_beams": count, "num_return_sequences": chance.randint(1, count)}
        case _:
            options |= {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.8}
            options |= {"num_return_sequences": chance.randint(1, 4)}
    return GenerationConfig(**options)


def draw_input(chance: random.Random, model: Model) -> list[int]:
    """A query for the embedded model, any ids for a tiny one."""
    if model.info.name == "tiny-t5":
        return model.vocabulary.encode(chance.choice(QUERIES))
    return [*(chance.randrange(3, 320) for _ in range(chance.randint(0, 40))), EOS]
