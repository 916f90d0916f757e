"""The bytes that a file's tensors take, and those that a decode step reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from t5gguf.tensor_map import Role
from t5gguf.writer import PlannedTensor

# Multiplied once per input, at the end of the encoder, and not in a decode step.
CROSS_ATTENTION = (".cross_attn_k.weight", ".cross_attn_v.weight")


def sum_bytes(tensors: Sequence[PlannedTensor]) -> int:
    """Returns the bytes of all tensors, without the file's header."""
    return sum(tensor.nbytes for tensor in tensors)


def sum_step_bytes(tensors: Sequence[PlannedTensor]) -> int:
    """Returns the bytes that a decode step reads."""
    return sum_named_step_bytes({tensor.entry.name: tensor.nbytes for tensor in tensors})


def sum_named_step_bytes(sizes: Mapping[str, int]) -> int:
    """Returns the bytes that a decode step reads: those of the decoder and the head.

    If the head is the embedding, a step also reads one row per sequence. Those rows are not
    counted.

    Args:
        sizes: the bytes of each tensor, by its name in the file.
    """
    head = "output.weight" if "output.weight" in sizes else "token_embd.weight"
    decoder = (
        name for name in sizes if name.startswith("dec.") and not name.endswith(CROSS_ATTENTION)
    )
    return sum(sizes[name] for name in (*decoder, head))


def resize_vocabulary(tensors: Sequence[PlannedTensor], rows: int) -> list[PlannedTensor]:
    """Returns the same tensors with another number of rows in the embedding and the head."""
    return [
        replace(tensor, shape=(rows, tensor.shape[1]))
        if tensor.entry.role in (Role.EMBEDDING, Role.HEAD)
        else tensor
        for tensor in tensors
    ]
