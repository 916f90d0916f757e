"""How many bytes a file's tensors take, and how many of them a decode step reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from t5gguf.tensor_map import Role
from t5gguf.writer import PlannedTensor

# Computed once for an input, at the end of the encoder.
ONCE = (".cross_attn_k.weight", ".cross_attn_v.weight")


def total(tensors: Sequence[PlannedTensor]) -> int:
    """Bytes of all tensors; the file has its header besides."""
    return sum(tensor.nbytes for tensor in tensors)


def step(tensors: Sequence[PlannedTensor]) -> int:
    """Bytes that a decode step reads."""
    return step_of({tensor.entry.name: tensor.nbytes for tensor in tensors})


def step_of(sizes: Mapping[str, int]) -> int:
    """The same, by the names of the file's tensors: the decoder and the head.

    The head may be the embedding, of which a step reads a row a sequence besides; that is not
    counted.
    """
    head = "output.weight" if "output.weight" in sizes else "token_embd.weight"
    decoder = (name for name in sizes if name.startswith("dec.") and not name.endswith(ONCE))
    return sum(sizes[name] for name in (*decoder, head))


def with_rows(tensors: Sequence[PlannedTensor], rows: int) -> list[PlannedTensor]:
    """The same tensors, were there so many rows in the embedding and the head."""
    return [
        replace(tensor, shape=(rows, tensor.shape[1]))
        if tensor.entry.role in (Role.EMBEDDING, Role.HEAD)
        else tensor
        for tensor in tensors
    ]
