"""Starts the search that the generation parameters select."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from t5engine.decoding.arithmetic import Arithmetic, NumpyArithmetic
from t5engine.decoding.beam import BeamSearch
from t5engine.decoding.diverse import DiverseBeamSearch
from t5engine.decoding.independent import Independent
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.processors import Processors
from t5engine.decoding.search import Rules, Search, StopCondition


def start_search(
    config: GenerationConfig,
    *,
    start: int,
    eos: int,
    suppressed: npt.NDArray[np.intp],
    should_stop: StopCondition | None = None,
    arithmetic: Arithmetic | None = None,
) -> Search:
    """Makes the search of a generation, before its first step.

    Args:
        config: generation parameters.
        start: the decoder's start token.
        eos: id of `</s>`.
        suppressed: ids that are never generated.
        should_stop: says of a sequence's token ids whether the sequence ends there.
        arithmetic: computes over the vocabulary; None: in numpy.
    """
    processors = Processors(config, start=start, suppressed=suppressed)
    rules = Rules(config, processors, eos, should_stop, arithmetic or NumpyArithmetic())
    if config.num_beam_groups > 1:
        return DiverseBeamSearch(rules)
    if config.num_beams > 1:
        return BeamSearch(rules)
    return Independent(rules)
