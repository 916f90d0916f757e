"""The decoder's caches of keys and values, in memory that is taken only when it is touched."""

from __future__ import annotations

import mmap

import numpy as np

from t5engine.backend import F32
from t5engine.graph import ggml
from t5engine.graph.ggml import Context, Cpu, Tensor
from t5engine.graph.model_shape import ModelShape


class Caches:
    """The self-attention and cross-attention caches of every decoder layer.

    A cache slot holds K and V of one token. Each tensor is (2 * d_inner, slots). Row r owns the
    `row_slots` slots from r * row_slots on in the self-attention cache. Input i owns the
    `input_slots` slots from i * input_slots on in the cross-attention cache.

    Attributes:
        self_kv: self-attention tensor of each layer.
        states: the encoder's states of the inputs, (d_model, cross-attention slots).
        cross_kv: cross-attention tensor of each layer.
        self_arrays: the memory of self_kv as arrays, (rows, row_slots, 2 * d_inner).
        cross_arrays: the memory of cross_kv as arrays, (rows, input_slots, 2 * d_inner).
        state_array: the memory of states as an array, (rows, input_slots, d_model).
        scratch_slot: a slot of the self-attention cache that belongs to no row.
    """

    def __init__(
        self, cpu: Cpu, shape: ModelShape, *, rows: int, row_slots: int, input_slots: int
    ) -> None:
        self.row_slots, self.input_slots = row_slots, input_slots
        layers, width = shape.decoder_layers, 2 * shape.d_inner
        self_slots, cross_slots = row_slots * rows + 1, input_slots * rows
        self.scratch_slot = self_slots - 1
        size = layers * (self_slots + cross_slots) * width + cross_slots * shape.d_model
        self._memory = mmap.mmap(-1, size * 4)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):  # a touched slot would take two megabytes
            self._memory.madvise(mmap.MADV_NOHUGEPAGE)
        values = np.frombuffer(self._memory, np.float32)
        g = cpu.ggml
        buffer = g.ggml_backend_dev_buffer_from_host_ptr(
            cpu.device, values.ctypes.data, values.nbytes, values.nbytes
        )
        self._context = Context(2 * layers + 1)
        allocated = 0

        def allocate(count: int, width: int = width) -> tuple[Tensor, F32]:
            nonlocal allocated
            tensor = g.ggml_new_tensor_2d(self._context.address, ggml.F32, width, count)
            array = values[allocated : allocated + count * width].reshape(count, width)
            g.ggml_backend_tensor_alloc(buffer, tensor, array.ctypes.data)
            allocated += count * width
            return int(tensor), array

        self_pairs = [allocate(self_slots) for _ in range(layers)]
        cross_pairs = [allocate(cross_slots) for _ in range(layers)]
        self.states, states = allocate(cross_slots, shape.d_model)
        self.self_kv = [tensor for tensor, _ in self_pairs]
        self.cross_kv = [tensor for tensor, _ in cross_pairs]
        self.self_arrays = [array[:-1].reshape(rows, row_slots, width) for _, array in self_pairs]
        self.cross_arrays = [array.reshape(rows, input_slots, width) for _, array in cross_pairs]
        self.state_array = states.reshape(rows, input_slots, shape.d_model)
