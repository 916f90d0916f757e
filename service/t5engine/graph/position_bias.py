"""The biases of T5's self-attention, by relative position."""

from __future__ import annotations

import numpy as np

from t5engine.backend import F32
from t5engine.graph.weights import Weights
from t5engine.relative import relative_position_bucket


def encoder_bias(weights: Weights, tokens: int) -> list[F32]:
    """Returns (heads, 2 * tokens - 1) per bias table, by the distance from a query to a key.

    The middle one is distance 0.
    """
    shape = weights.shape
    buckets = relative_position_bucket(
        np.arange(1 - tokens, tokens), shape.buckets, shape.max_distance, bidirectional=True
    )
    tables = weights.bias_tables("enc", shape.encoder_layers)
    return [np.ascontiguousarray(table[buckets].T, np.float32) for table in tables]


def decoder_bias(weights: Weights, slots: int) -> list[F32]:
    """Returns (positions, heads, slots) per bias table; -inf at keys after the position."""
    shape = weights.shape
    distance = np.arange(slots)[None, :] - np.arange(slots)[:, None]
    buckets = relative_position_bucket(
        distance, shape.buckets, shape.max_distance, bidirectional=False
    )
    biases = []
    for table in weights.bias_tables("dec", shape.decoder_layers):
        bias = table[buckets].transpose(0, 2, 1).astype(np.float32)
        bias[np.broadcast_to((distance > 0)[:, None, :], bias.shape)] = -np.inf
        biases.append(np.ascontiguousarray(bias))
    return biases
