"""Drawing a token: temperature, top-k, top-p, min-p, typical-p, in that order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig

Weights = npt.NDArray[np.float64]
TINIEST = np.finfo(np.float64).tiny  # stands for a probability of 0, whose log is infinite


class Sampler:
    """Draws the tokens of one sequence.

    The same seed and index give the same draws, whatever else is decoded beside it.

    Args:
        config: temperature and what else shapes the distribution.
        seed: of the generation.
        index: of the sequence in its generation.
    """

    def __init__(self, config: GenerationConfig, seed: int, index: int) -> None:
        self._config = config
        # A key of its own and not [seed, index]: numpy pads with zeros, so those can collide.
        self._random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))

    def draw(self, scores: F32) -> int:
        """A token, by processed logits of which one at least is finite."""
        if self._config.temperature == 0:
            return int(scores.argmax())
        ids, weights = distribution(scores, self._config)
        # In the order of ids: near-equal ones that change places would change what is drawn.
        sums = np.cumsum(weights)
        place = np.searchsorted(sums, self._random.random() * sums[-1], side="right")
        return int(ids[min(int(place), ids.size - 1)])


def distribution(scores: F32, config: GenerationConfig) -> tuple[npt.NDArray[np.intp], Weights]:
    """The tokens that may be drawn, ids ascending, with their probabilities.

    Each step as in transformers 4.56.2, generation/logits_process.py: what it keeps is
    renormalised for the next. All of a top-k's ties are kept, and at least one token is.
    """
    ids: npt.NDArray[np.intp] = np.arange(scores.size)
    if 0 < config.top_k < scores.size:
        ids = np.flatnonzero(scores >= np.partition(scores, -config.top_k)[-config.top_k])
    kept = scores[ids].astype(np.float64)
    with np.errstate(over="ignore"):  # by a temperature next to 0: exp of -inf is 0
        weights = np.exp((kept - kept.max()) / config.temperature)
    weights /= weights.sum()
    if config.top_p < 1:
        keep = _nucleus(weights, config.top_p)
        ids, weights = ids[keep], weights[keep]
        weights /= weights.sum()
    if config.min_p:
        keep = weights >= config.min_p * weights.max()
        ids, weights = ids[keep], weights[keep]
        weights /= weights.sum()
    if config.typical_p < 1:
        keep = _typical(weights, config.typical_p)
        ids, weights = ids[keep], weights[keep]
        weights /= weights.sum()
    return ids[weights > 0], weights[weights > 0]


def _nucleus(weights: Weights, mass: float) -> npt.NDArray[np.bool_]:
    """Which of the most probable tokens make up that much of the mass."""
    order = np.argsort(weights, kind="stable")
    keep = np.empty(weights.size, np.bool_)
    keep[order] = np.cumsum(weights[order]) > 1 - mass
    keep[order[-1]] = True
    return keep


def _typical(weights: Weights, mass: float) -> npt.NDArray[np.bool_]:
    """Selects the most typical tokens that make up that much of the mass.

    A token is typical if its surprise, -log p, is near the entropy of the distribution. Meister et
    al., 2022, "Locally Typical Sampling"; all ties with the last token are kept, as in
    transformers.
    """
    surprise = -np.log(np.maximum(weights, TINIEST))
    shift = np.abs(surprise - weights @ surprise)
    order = np.argsort(shift, kind="stable")
    below = int(np.count_nonzero(np.cumsum(weights[order]) < mass))
    keep: npt.NDArray[np.bool_] = shift <= shift[order[min(below, order.size - 1)]]
    return keep
