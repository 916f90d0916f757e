"""How many bytes a file's tensors take, and how many of them a decode step reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from t5gguf.tensor_map import Role
from t5gguf.writer import PlannedTensor

# Computed once for an input, at the end of the encoder.
ONCE = (".cross_attn_k.weight", ".cross_attn_v.weight")


def total(tensors: Sequence[PlannedTensor]) -> int:
    """Bytes of all tensors; the file has its header besides."""
    return sum(tensor.nbytes for tensor in tensors)


def step(tensors: Sequence[PlannedTensor]) -> int:
    """Bytes that a decode step reads: the decoder and the head, which may be the embedding.

    Of the embedding as such it reads a row a sequence, which is not counted.
    """
    heads = [tensor for tensor in tensors if tensor.entry.role is Role.HEAD]
    heads = heads or [tensor for tensor in tensors if tensor.entry.role is Role.EMBEDDING]
    names = [(tensor, tensor.entry.name) for tensor in tensors]
    decoder = [one for one, name in names if name.startswith("dec.") and not name.endswith(ONCE)]
    return total([*decoder, *heads])


def with_rows(tensors: Sequence[PlannedTensor], rows: int) -> list[PlannedTensor]:
    """The same tensors, were there so many rows in the embedding and the head."""
    return [
        replace(tensor, shape=(rows, tensor.shape[1]))
        if tensor.entry.role in (Role.EMBEDDING, Role.HEAD)
        else tensor
        for tensor in tensors
    ]
