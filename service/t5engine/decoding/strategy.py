"""Which search a generation asks for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from t5engine.decoding.beam import BeamSearch
from t5engine.decoding.diverse import DiverseBeamSearch
from t5engine.decoding.independent import Independent
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.processors import Processors
from t5engine.decoding.search import Ends, Rules, Search


def start_search(
    config: GenerationConfig,
    *,
    start: int,
    eos: int,
    suppressed: npt.NDArray[np.intp],
    ends: Ends | None = None,
) -> Search:
    """A search before its first step.

    Args:
        config: what is asked for.
        start: the decoder's start token.
        eos: id of `</s>`.
        suppressed: ids that never come out.
        ends: says of a sequence's tokens whether it is over.
    """
    processors = Processors(config, start=start, suppressed=suppressed)
    rules = Rules(config, processors, eos, ends)
    if config.num_beam_groups > 1:
        return DiverseBeamSearch(rules)
    if config.num_beams > 1:
        return BeamSearch(rules)
    return Independent(rules)
