"""Draws tokens. Applies temperature, top-k, top-p, min-p and typical-p, in this order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from t5engine.decoding.logprobs import F32, top_indices
from t5engine.decoding.parameters import GenerationConfig

Weights = npt.NDArray[np.float64]
SMALLEST_NORMAL = np.finfo(np.float64).tiny  # replaces probabilities of 0: their log is infinite


class Sampler:
    """Draws the tokens of one sequence.

    The same seed and index give the same draws, whatever is decoded at the same time.

    Args:
        config: temperature, which is above 0, top_k, top_p, min_p, typical_p.
        seed: seed of the generation.
        index: index of the sequence in its generation.
    """

    def __init__(self, config: GenerationConfig, seed: int, index: int) -> None:
        self._config = config
        # A spawn key, not [seed, index]: numpy pads with zeros, so different lists can collide.
        self._random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))

    def draw(self, scores: F32) -> int:
        """Draws a token id.

        Args:
            scores: processed logits, at least one of them finite, (n_vocab,).
        """
        ids, weights = compute_distribution(scores, self._config)
        # In the order of ids, not of weights: near-equal weights that swap would change the draw.
        cumulative = np.cumsum(weights)
        threshold = self._random.random() * cumulative[-1]
        index = int(np.searchsorted(cumulative, threshold, side="right"))
        return int(ids[min(index, ids.size - 1)])


def compute_distribution(
    scores: F32, config: GenerationConfig
) -> tuple[npt.NDArray[np.intp], Weights]:
    """Computes the distribution that tokens are drawn from.

    Every step is that of transformers 4.56.2, generation/logits_process.py. The probabilities of
    the tokens that a step keeps are renormalised before the next step. Top-k keeps all ties with
    its last token. At least one token is kept.

    Returns:
        Ids of the tokens that may be drawn, ascending, and their probabilities.
    """
    ids: npt.NDArray[np.intp] = np.arange(scores.size)
    if 0 < config.top_k < scores.size:
        ids = np.flatnonzero(scores >= scores[top_indices(scores, config.top_k)[-1]])
    logits = scores[ids].astype(np.float64)
    with np.errstate(over="ignore"):  # a temperature near 0 divides to -inf: exp(-inf) is 0
        weights = np.exp((logits - logits.max()) / config.temperature)
    weights /= weights.sum()
    if config.top_p < 1:
        mask = _nucleus_mask(weights, config.top_p)
        ids, weights = ids[mask], weights[mask]
        weights /= weights.sum()
    if config.min_p:
        mask = weights >= config.min_p * weights.max()
        ids, weights = ids[mask], weights[mask]
        weights /= weights.sum()
    if config.typical_p < 1:
        mask = _typical_mask(weights, config.typical_p)
        ids, weights = ids[mask], weights[mask]
        weights /= weights.sum()
    return ids[weights > 0], weights[weights > 0]


def _nucleus_mask(weights: Weights, mass: float) -> npt.NDArray[np.bool_]:
    """Selects the fewest most probable tokens whose probabilities sum to at least `mass`."""
    order = np.argsort(weights, kind="stable")
    mask = np.empty(weights.size, np.bool_)
    mask[order] = np.cumsum(weights[order]) > 1 - mass
    mask[order[-1]] = True
    return mask


def _typical_mask(weights: Weights, mass: float) -> npt.NDArray[np.bool_]:
    """Selects the fewest most typical tokens whose probabilities sum to at least `mass`.

    A token is typical if its surprise, -log p, is near the entropy of the distribution: Meister et
    al., 2022, "Locally Typical Sampling". All ties with the last token are kept, as in
    transformers.
    """
    surprise = -np.log(np.maximum(weights, SMALLEST_NORMAL))
    distance = np.abs(surprise - weights @ surprise)
    order = np.argsort(distance, kind="stable")
    last = int(np.count_nonzero(np.cumsum(weights[order]) < mass))
    mask: npt.NDArray[np.bool_] = distance <= distance[order[min(last, order.size - 1)]]
    return mask
