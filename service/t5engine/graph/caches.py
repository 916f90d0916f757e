"""Keys and values of the decoder, in memory that is only taken when it is touched."""

from __future__ import annotations

import mmap

import numpy as np

from t5engine.backend import F32
from t5engine.graph import ggml
from t5engine.graph.ggml import Context, Cpu, Tensor
from t5engine.graph.weights import Shape


class Caches:
    """Keys and values per decoder layer: of the rows' own tokens, and of the inputs'.

    Each tensor is (2 * inner, lines); row r has its `cells` lines from r * cells, input s its
    `span` lines from s * span. The arrays are the same memory.

    Attributes:
        own: tensor of each layer.
        cross: likewise.
        own_values: array of each layer, (rows, cells, 2 * inner).
        cross_values: likewise, (rows, span, 2 * inner).
        scratch: a line of `own` that belongs to no row.
    """

    def __init__(self, cpu: Cpu, shape: Shape, *, rows: int, cells: int, span: int) -> None:
        self.cells, self.span = cells, span
        width = 2 * shape.inner
        own, cross = cells * rows + 1, span * rows
        self.scratch = own - 1
        lines = shape.decoder_layers * (own + cross)
        self._memory = mmap.mmap(-1, lines * width * 4)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):  # a touched line would take two megabytes
            self._memory.madvise(mmap.MADV_NOHUGEPAGE)
        values = np.frombuffer(self._memory, np.float32).reshape(lines, width)
        g = cpu.ggml
        buffer = g.ggml_backend_dev_buffer_from_host_ptr(
            cpu.device, values.ctypes.data, values.nbytes, values.nbytes
        )
        self._context = Context(2 * shape.decoder_layers)
        line = 0

        def take(count: int) -> tuple[Tensor, F32]:
            nonlocal line
            tensor = g.ggml_new_tensor_2d(self._context.address, ggml.F32, width, count)
            taken = values[line : line + count]
            g.ggml_backend_tensor_alloc(buffer, tensor, taken.ctypes.data)
            line += count
            return int(tensor), taken

        owns = [take(own) for _ in range(shape.decoder_layers)]
        crosses = [take(cross) for _ in range(shape.decoder_layers)]
        self.own = [tensor for tensor, _ in owns]
        self.cross = [tensor for tensor, _ in crosses]
        self.own_values = [taken[:-1].reshape(rows, cells, width) for _, taken in owns]
        self.cross_values = [taken.reshape(rows, span, width) for _, taken in crosses]
