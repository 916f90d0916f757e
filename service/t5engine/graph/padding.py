"""Sizes of graphs: inputs are padded, so that few graphs serve all of them."""

from __future__ import annotations


def pad_input_length(tokens: int) -> int:
    """Rounds an encoder length up to 4 (what the matrix kernels take), later to 32 and 128."""
    step = 4 if tokens <= 64 else 32 if tokens <= 256 else 128
    return -(-tokens // step) * step


def pad_cross_keys(tokens: int) -> int:
    """Rounds an input length up for the decoder: to 16 up to 64, then to powers of two."""
    return -(-tokens // 16) * 16 if tokens <= 64 else next_power_of_two(tokens)


def next_power_of_two(size: int) -> int:
    """Returns the next power of two, at least 16."""
    return max(16, 1 << (size - 1).bit_length())
