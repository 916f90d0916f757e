"""The weights of a GGUF file as ggml tensors.

Weights stay in the mapped file where the kernels take its layout. They are repacked in private
memory where that is faster: by us for our own kernels, by ggml for its kernels.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from t5engine.graph import ggml
from t5engine.graph.ggml import Context, Cpu, Tensor
from t5engine.graph.model_shape import read_shape
from t5engine.graph.state_matrices import (
    StateMatrices,
    build_state_matrices,
    has_state_matrices,
)
from t5engine.kernels import loader
from t5engine.kernels.memory import Arena
from t5engine.reader import GGUFFile, ReadError, StoredTensor

MAX_TENSORS = 4096
# Numbers of enum ggml_type: those that the reader reads as values, and those that ggml multiplies.
TABLE_TYPES = (0, 1)
MATRIX_TYPES = (0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, *range(16, 24), 29, 30)


class Weights:
    """Every weight, by its name in the graph.

    Attributes:
        shape: shape of the model.
        is_gated: whether the feed-forward has a gate.
        kernels: our own kernels, used where they support a weight; None: ggml's.
        matrices: the weights that our own kernel multiplies, by name; the others are tensors.
        private_bytes: memory that this process does not share with others on the same file.
    """

    def __init__(
        self, path: Path, cpu: Cpu, *, output_scale: float, kernels: loader.Kernels | None
    ) -> None:
        """Maps the file.

        Args:
            path: the GGUF file.
            cpu: the device that computes.
            output_scale: factor on the decoder's output that calibrates the logits.
            kernels: our own kernels, for the weights that they support; None: ggml's.

        Raises:
            GgmlError: the file's tensors are not those of a T5 of the shape in its header.
        """
        self._cpu = cpu
        self._ggml = cpu.ggml
        try:
            self._file = GGUFFile.open(path)
            self.shape = read_shape(self._file)
        except (ReadError, KeyError) as error:
            raise ggml.GgmlError(f"the header lacks what the graph needs: {error}") from error
        self.is_gated = "enc.blk.0.ffn_gate.weight" in self._file.tensors
        self._check_tensors()
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._base = np.frombuffer(self._map, np.uint8)
        self._mapped_context = Context(MAX_TENSORS)
        self._mapped_buffer = self._ggml.ggml_backend_dev_buffer_from_host_ptr(
            cpu.device, self._base.ctypes.data, len(self._base), len(self._base)
        )
        self._repack_type = cpu.find_repack_type()
        self._repacked_context = Context(MAX_TENSORS)
        self._plain_context = Context(1)
        self._pending: list[tuple[Tensor, npt.NDArray[np.uint8]]] = []
        self._tensors: dict[str, Tensor] = {}
        self.kernels = kernels
        self.matrices: dict[str, loader.Matrix] = {}
        self._arena = Arena()
        self._add_all(output_scale)
        self.private_bytes = self._allocate_private()
        self.private_bytes += sum(matrix.private_bytes for matrix in self.matrices.values())

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self._tensors or name in self.matrices

    def bias_tables(self, side: str, layers: int) -> list[npt.NDArray[np.float32]]:
        """Returns relative attention biases, (buckets, heads): one, or one per layer (UMT5)."""
        names = [f"{side}.blk.{layer}.attn_rel_b.weight" for layer in range(layers)]
        return [self._file.tensors[n].read_rows() for n in names if n in self._file.tensors]

    @cached_property
    def state_matrices(self) -> list[StateMatrices]:
        """What one step over the encoder's states needs, per decoder layer; empty: no kernels."""
        shape, kernels = self.shape, self.kernels
        if kernels is None or not has_state_matrices(kernels, shape):
            return []
        layers = [self._find_kv(f"dec.{layer}.cross_kv") for layer in range(shape.decoder_layers)]
        found = [pair for pair in layers if pair is not None]
        if len(found) < len(layers):
            return []
        return [build_state_matrices(kernels, shape, k, v, self._arena) for k, v in found]

    def _find_kv(self, name: str) -> tuple[loader.Matrix, loader.Matrix] | None:
        """Returns the matrices of K and V, if our own kernels multiply them."""
        fused, d_inner = self.matrices.get(name), self.shape.d_inner
        if fused is not None:
            return fused.slice_rows(0, d_inner), fused.slice_rows(d_inner, d_inner)
        k, v = (self.matrices.get(f"{name}.{part}") for part in (0, 1))
        return None if k is None or v is None else (k, v)

    def _check_tensors(self) -> None:
        """Raises GgmlError for missing or wrong tensors, on which ggml would abort the process."""
        shape, tensors = self.shape, self._file.tensors
        square, across = (shape.d_inner, shape.d_model), (shape.d_model, shape.d_inner)
        attention = {"q": square, "k": square, "v": square, "o": across}
        expected: dict[str, tuple[int, ...]] = {"token_embd": (shape.vocab_rows, shape.d_model)}
        if "output.weight" in tensors:
            expected["output"] = (shape.vocab_rows, shape.d_model)
        for side, layers in (("enc", shape.encoder_layers), ("dec", shape.decoder_layers)):
            expected[f"{side}.output_norm"] = (shape.d_model,)
            for layer in range(layers):
                block = f"{side}.blk.{layer}"
                if layer == 0 or f"{block}.attn_rel_b.weight" in tensors:
                    expected[f"{block}.attn_rel_b"] = (shape.buckets, shape.heads)
                for prefix in ("attn", "cross_attn") if side == "dec" else ("attn",):
                    expected[f"{block}.{prefix}_norm"] = (shape.d_model,)
                    expected |= {f"{block}.{prefix}_{part}": s for part, s in attention.items()}
                expected[f"{block}.ffn_norm"] = (shape.d_model,)
                for part in ("ffn_gate", "ffn_up") if self.is_gated else ("ffn_up",):
                    expected[f"{block}.{part}"] = (shape.d_ff, shape.d_model)
                expected[f"{block}.ffn_down"] = (shape.d_model, shape.d_ff)
        for name, size in expected.items():
            tensor = tensors.get(f"{name}.weight")
            if tensor is None or tensor.shape != size:
                actual = "missing" if tensor is None else f"{tensor.shape}"
                raise ggml.GgmlError(f"{name}.weight should be {size}, is {actual}")
            types = (
                (ggml.F32,) if "norm" in name else TABLE_TYPES if "rel_b" in name else MATRIX_TYPES
            )
            tensor_type = tensor.tensor_type
            block_size = self._ggml.ggml_blck_size(tensor_type) if tensor_type in types else 0
            if not block_size or tensor.shape[-1] % block_size:
                raise ggml.GgmlError(f"{name}.weight has the unsupported type {tensor_type}")

    def _add_all(self, output_scale: float) -> None:
        shape = self.shape
        self._add("embedding", ["token_embd.weight"], repack=False)
        head = "output.weight" if "output.weight" in self._file.tensors else "token_embd.weight"
        self._add("head", [head])
        self._add("enc.norm", ["enc.output_norm.weight"], repack=False)
        self._add_scaled("dec.norm", "dec.output_norm.weight", output_scale)
        for side, layers in (("enc", shape.encoder_layers), ("dec", shape.decoder_layers)):
            for layer in range(layers):
                self._add_layer(f"{side}.{layer}", f"{side}.blk.{layer}")

    def _add_layer(self, name: str, source: str) -> None:
        def parts(prefix: str, letters: str) -> list[str]:
            return [f"{source}.{prefix}_{letter}.weight" for letter in letters]

        self._add(f"{name}.attn_norm", [f"{source}.attn_norm.weight"], repack=False)
        self._add_fused(f"{name}.attn_qkv", parts("attn", "qkv"))
        self._add(f"{name}.attn_o", parts("attn", "o"))
        if name.startswith("dec"):
            self._add(f"{name}.cross_norm", [f"{source}.cross_attn_norm.weight"], repack=False)
            self._add(f"{name}.cross_q", parts("cross_attn", "q"))
            self._add_fused(f"{name}.cross_kv", parts("cross_attn", "kv"))
            self._add(f"{name}.cross_o", parts("cross_attn", "o"))
        self._add(f"{name}.ffn_norm", [f"{source}.ffn_norm.weight"], repack=False)
        if self.is_gated:
            ups = [f"{source}.ffn_gate.weight", f"{source}.ffn_up.weight"]
            self._add_fused(f"{name}.ffn_up", ups)
        else:
            self._add(f"{name}.ffn_up", [f"{source}.ffn_up.weight"])
        self._add(f"{name}.ffn_down", [f"{source}.ffn_down.weight"])

    def _add_fused(self, name: str, sources: list[str]) -> None:
        """Adds several matrices as one, or as `name.0`, `name.1`, ... if they can't be fused."""
        tensors = [self._file.tensors[source] for source in sources]
        alike = len({(t.tensor_type, t.shape[-1]) for t in tensors}) == 1
        ends = [t.offset + self._stored_size(t) for t in tensors]
        adjacent = alike and [t.offset for t in tensors[1:]] == ends[:-1]
        if adjacent or (alike and (self._can_pack(tensors) or self._can_repack(tensors))):
            self._add(name, sources)
        else:
            for index, source in enumerate(sources):
                self._add(f"{name}.{index}", [source])

    def _add(self, name: str, sources: list[str], *, repack: bool = True) -> None:
        tensors = [self._file.tensors[source] for source in sources]
        first = tensors[0]
        data = [self._base[t.offset : t.offset + self._stored_size(t)] for t in tensors]
        if repack and self.kernels is not None and self._can_multiply(tensors):
            rows = sum(t.shape[0] for t in tensors)
            if first.tensor_type == loader.F16:  # one after another in the file
                end = tensors[-1].offset + self._stored_size(tensors[-1])
                data = [self._base[first.offset : end]]
            columns = first.shape[1]
            tensor_type = int(first.tensor_type)
            self.matrices[name] = loader.Matrix(
                self.kernels, tensor_type, rows, columns, data, self._arena
            )
            return
        if repack and self._can_repack(tensors):
            tensor = self._new_tensor(self._repacked_context, tensors)
            self._pending.append((tensor, data[0] if len(data) == 1 else np.concatenate(data)))
        else:
            tensor = self._new_tensor(self._mapped_context, tensors)
            address = self._base.ctypes.data + first.offset
            self._ggml.ggml_backend_tensor_alloc(self._mapped_buffer, tensor, address)
        self._tensors[name] = tensor

    def _add_scaled(self, name: str, source: str, scale: float) -> None:
        """Adds a norm's weight times a factor; it stays in the file when the factor is 1."""
        if scale == 1:
            self._add(name, [source], repack=False)
            return
        values = self._file.tensors[source].read_rows().reshape(-1) * np.float32(scale)
        tensor = self._ggml.ggml_new_tensor_1d(self._plain_context.address, ggml.F32, values.size)
        self._pending.append((tensor, np.ascontiguousarray(values, np.float32).view(np.uint8)))
        self._tensors[name] = tensor

    def _new_tensor(self, context: Context, tensors: Sequence[StoredTensor]) -> Tensor:
        tensor_type, columns = int(tensors[0].tensor_type), tensors[0].shape[-1]
        if len(tensors[0].shape) == 1:
            return int(self._ggml.ggml_new_tensor_1d(context.address, tensor_type, columns))
        rows = sum(t.shape[0] for t in tensors)
        return int(self._ggml.ggml_new_tensor_2d(context.address, tensor_type, columns, rows))

    def _can_multiply(self, tensors: Sequence[StoredTensor]) -> bool:
        """Whether our own kernels take the matrix."""
        rows = [t.shape[0] for t in tensors]
        return self.kernels is not None and self.kernels.can_multiply(
            int(tensors[0].tensor_type), rows, tensors[0].shape[1]
        )

    def _can_pack(self, tensors: Sequence[StoredTensor]) -> bool:
        """Whether our own kernels take the matrix with its parts anywhere in the file."""
        return self._can_multiply(tensors) and tensors[0].tensor_type != loader.F16

    def _can_repack(self, tensors: Sequence[StoredTensor]) -> bool:
        """Whether this CPU has a kernel for the repacked matrix.

        ggml is asked with the tensor in an empty buffer of the repack type, as llama.cpp does. A
        matrix without a kernel (for example with a row count not divisible by 8) would crash on
        load.
        """
        if self._repack_type is None:
            return False
        scratch = Context(4)
        weight = self._new_tensor(scratch, tensors)
        vector = self._ggml.ggml_new_tensor_2d(scratch.address, ggml.F32, tensors[0].shape[-1], 1)
        product = self._ggml.ggml_mul_mat(scratch.address, weight, vector)
        empty = self._ggml.ggml_backend_buft_alloc_buffer(self._repack_type, 0)
        ggml.TensorHead.from_address(weight).buffer = empty
        supported = bool(self._ggml.ggml_backend_dev_supports_op(self._cpu.device, product))
        self._ggml.ggml_backend_buffer_free(empty)
        scratch.close()
        return supported

    def _allocate_private(self) -> int:
        """Allocates and fills the tensors outside the mapped file. Returns their bytes."""
        size = 0
        for context, buffer_type in (
            (self._repacked_context, self._repack_type),
            (self._plain_context, self._cpu.buffer_type),
        ):
            buffer = buffer_type and self._ggml.ggml_backend_alloc_ctx_tensors_from_buft(
                context.address, buffer_type
            )
            if buffer:  # none when the context is empty
                self._ggml.ggml_backend_buffer_set_usage(buffer, ggml.WEIGHTS_USAGE)
                size += int(self._ggml.ggml_backend_buffer_get_size(buffer))
        for tensor, data in self._pending:
            if not self._ggml.ggml_get_data(tensor):
                raise ggml.GgmlError("no memory for the weights")
            self._ggml.ggml_backend_tensor_set(
                tensor, ctypes.c_void_p(data.ctypes.data), 0, data.nbytes
            )
        self._pending.clear()
        return size

    def _stored_size(self, tensor: StoredTensor) -> int:
        block_size = self._ggml.ggml_blck_size(int(tensor.tensor_type))
        block_bytes = self._ggml.ggml_type_size(int(tensor.tensor_type))
        return int(np.prod(tensor.shape)) // int(block_size) * int(block_bytes)
