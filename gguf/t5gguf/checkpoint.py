"""A T5 checkpoint in Hugging Face's layout: config.json and lazily read weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from gguf.utility import LocalTensor, SafetensorsLocal

from t5gguf.errors import ConversionError

F32 = npt.NDArray[np.float32]

ARCHITECTURES = (
    "T5ForConditionalGeneration",
    "T5WithLMHeadModel",
    "MT5ForConditionalGeneration",
    "UMT5ForConditionalGeneration",
)
ACTIVATIONS = ("relu", "gated-gelu")
HEAD = "lm_head.weight"
PREFIXES = "t5serve_prefixes"
"""In config.json, of a model that scripts/train.py made: each task's prefix, the default first."""

ITEM_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class Config:
    """The fields of config.json that decide a T5's shape, under Hugging Face's names."""

    architecture: str
    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_heads: int
    num_layers: int
    num_decoder_layers: int
    relative_attention_num_buckets: int
    relative_attention_max_distance: int
    layer_norm_epsilon: float
    is_gated: bool
    tie_word_embeddings: bool
    scale_decoder_outputs: bool
    n_positions: int
    decoder_start_token_id: int
    pad_token_id: int
    eos_token_id: int
    prefixes: dict[str, str] = dataclasses.field(default_factory=dict)
    of_transformers_5: bool = False

    @property
    def d_inner(self) -> int:
        """Width of q, k and v over all heads; differs from d_model in some models."""
        return self.num_heads * self.d_kv

    @property
    def output_scale(self) -> float:
        """Factor on the decoder's output before the head: of T5 v1.0, which ties it; else 1."""
        return float(self.d_model**-0.5) if self.scale_decoder_outputs else 1.0

    @property
    def bias_in_every_layer(self) -> bool:
        """UMT5 has a relative attention bias per layer; the others share the first one's."""
        return self.architecture.startswith("UMT5")

    @classmethod
    def load(cls, directory: Path) -> Self:
        path = directory / "config.json"
        raw = _read_json(path)
        faults: list[str] = []

        def field(name: str, kind: type[Any], default: Any = None) -> Any:  # noqa: ANN401
            value = raw.get(name, default)
            value = default if value is None else value
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            good = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
            if not good or (kind is int and value < 0):
                faults.append(f"{name} is {value!r}, expected {kind.__name__}")
            return value

        architectures = raw.get("architectures")
        architecture = (
            architectures[0] if isinstance(architectures, list) and architectures else None
        )
        if architecture not in ARCHITECTURES:
            faults.append(f"architecture {architecture} is not one of {', '.join(ARCHITECTURES)}")
        multilingual = architecture in ARCHITECTURES[2:]
        activation = raw.get("feed_forward_proj", "gated-gelu" if multilingual else "relu")
        if activation not in ACTIVATIONS:
            faults.append(
                f"feed_forward_proj {activation!r} is unknown to llama.cpp, which takes "
                + " and ".join(ACTIVATIONS)
            )
        buckets = field("relative_attention_num_buckets", int, 32)
        if isinstance(buckets, int) and (buckets < 4 or buckets % 4):
            faults.append(f"relative_attention_num_buckets is {buckets}, expected a multiple of 4")
        vocab_size = field("vocab_size", int)
        layers = field("num_layers", int)
        pad = field("pad_token_id", int, 0)
        prefixes = field(PREFIXES, dict, {})
        if isinstance(prefixes, dict) and not all(
            task.isidentifier() and isinstance(text, str) for task, text in prefixes.items()
        ):
            faults.append(f"{PREFIXES} is {prefixes!r}, expected texts by tasks, plain words")
        tied = field(
            "tie_word_embeddings", bool, default=architecture != "MT5ForConditionalGeneration"
        )
        # transformers 5 writes tie_word_embeddings as true whatever the head is; it says of T5
        # whether outputs are scaled, and never scales mT5's (configuration_t5.py, modeling_mt5.py).
        version = str(raw.get("transformers_version")).partition(".")[0]
        of_5 = version.isdecimal() and int(version) >= 5
        scaled = tied and not (of_5 and architecture == "MT5ForConditionalGeneration")
        config = cls(
            architecture=str(architecture),
            vocab_size=vocab_size,
            d_model=field("d_model", int),
            d_kv=field("d_kv", int),
            d_ff=field("d_ff", int),
            num_heads=field("num_heads", int),
            num_layers=layers,
            num_decoder_layers=field(
                "num_decoder_layers", int, layers if isinstance(layers, int) else 1
            ),
            relative_attention_num_buckets=buckets,
            relative_attention_max_distance=field("relative_attention_max_distance", int, 128),
            layer_norm_epsilon=field("layer_norm_epsilon", float, 1e-6),
            is_gated=activation == "gated-gelu",
            tie_word_embeddings=tied,
            scale_decoder_outputs=field("scale_decoder_outputs", bool, scaled),
            n_positions=field("n_positions", int, 512),
            decoder_start_token_id=field("decoder_start_token_id", int, pad),
            pad_token_id=pad,
            eos_token_id=field("eos_token_id", int, 1),
            prefixes=prefixes,
            of_transformers_5=of_5,
        )
        if not faults:
            faults += [
                f"{name} is {getattr(config, name)}, but vocab_size {vocab_size}"
                for name in ("decoder_start_token_id", "pad_token_id", "eos_token_id")
                if getattr(config, name) >= vocab_size
            ]
        if faults:
            listing = "\n  ".join(faults)
            raise ConversionError(f"{path}: {len(faults)} fault(s)\n  {listing}")
        return config


@dataclass(frozen=True)
class LazyTensor:
    """A weight that is read when `load` is called; shape as Hugging Face stores it."""

    name: str
    shape: tuple[int, ...]
    _read: Callable[[], F32]

    def load(self) -> F32:
        """The weight as F32, whatever the file's type."""
        return self._read()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint directory: its config, its tensors by Hugging Face name, its weight files."""

    directory: Path
    config: Config
    tensors: Mapping[str, LazyTensor]
    weight_files: tuple[Path, ...]

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Reads config.json and the weights' headers.

        Raises:
            ConversionError: no T5, an unreadable file, or a shard that is missing.
        """
        if not directory.is_dir():
            raise ConversionError(f"{directory} is not a directory")
        config = Config.load(directory)
        files = _weight_files(directory)
        tensors: dict[str, LazyTensor] = {}
        for file in files:
            for tensor in _open_weights(file):
                if tensor.name in tensors:
                    raise ConversionError(f"{file}: {tensor.name} is also in another shard")
                tensors[tensor.name] = tensor
        if config.of_transformers_5 and HEAD in tensors:
            config = dataclasses.replace(config, tie_word_embeddings=False)
        return cls(directory, config, tensors, files)

    def sha256(self) -> dict[str, str]:
        """Hash of every weight file by its name."""
        return {file.name: sha256(file) for file in self.weight_files}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path}: {error}") from error
    if not isinstance(raw, dict):
        raise ConversionError(f"{path}: expected a JSON object")
    return raw


def _weight_files(directory: Path) -> tuple[Path, ...]:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (directory / name).is_file():
            return (directory / name,)
        index = directory / f"{name}.index.json"
        if index.is_file():
            weight_map = _read_json(index).get("weight_map")
            if not isinstance(weight_map, dict) or not all(
                isinstance(shard, str) for shard in weight_map.values()
            ):
                raise ConversionError(f"{index}: weight_map does not map tensors to files")
            shards = sorted(set(weight_map.values()))
            missing = [s for s in shards if Path(s).name != s or not (directory / s).is_file()]
            if missing or not shards:
                raise ConversionError(f"{index}: shards missing: {', '.join(missing) or 'all'}")
            return tuple(directory / shard for shard in shards)
    raise ConversionError(
        f"{directory} has neither model.safetensors nor pytorch_model.bin (nor an index of either)"
    )


def _open_weights(file: Path) -> Iterator[LazyTensor]:
    return _open_safetensors(file) if file.suffix == ".safetensors" else _open_torch(file)


def _open_safetensors(file: Path) -> Iterator[LazyTensor]:
    try:
        tensors: dict[str, LocalTensor] = SafetensorsLocal(file).tensors
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConversionError(f"{file} is not a safetensors file: {error!r}") from error
    with file.open("rb") as raw:
        start = 8 + int.from_bytes(raw.read(8), "little")
    size = file.stat().st_size
    for name, tensor in tensors.items():
        sizes = [*tensor.shape, tensor.data_range.offset, tensor.data_range.size]
        if not all(isinstance(number, int) and number >= 0 for number in sizes):
            raise ConversionError(f"{file}: {name} has a shape or place that is no whole number")
        if not isinstance(tensor.dtype, str) or tensor.dtype not in ITEM_SIZES:
            raise ConversionError(f"{file}: {name} has type {tensor.dtype}, not a float")
        expected = math.prod(tensor.shape) * ITEM_SIZES[tensor.dtype]
        if tensor.data_range.size != expected:
            raise ConversionError(
                f"{file}: {name} has {tensor.data_range.size} bytes, not {expected}"
            )
        if tensor.data_range.offset < start:
            raise ConversionError(f"{file} is not a safetensors file: {name} lies in the header")
        if tensor.data_range.offset + tensor.data_range.size > size:
            raise ConversionError(f"{file} is truncated: {name} ends beyond its end")
        yield LazyTensor(name, tuple(tensor.shape), _safetensors_reader(tensor))


def _safetensors_reader(tensor: LocalTensor) -> Callable[[], F32]:
    def read() -> F32:
        raw = tensor.mmap_bytes()
        if tensor.dtype == "BF16":  # the upper half of an F32
            wide = raw.view("<u2").astype(np.uint32) << 16
            return wide.view(np.float32).reshape(tensor.shape)
        kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[tensor.dtype]
        return raw.view(kind).reshape(tensor.shape).astype(np.float32)

    return read


def _open_torch(file: Path) -> Iterator[LazyTensor]:
    try:
        import torch  # noqa: PLC0415 - an extra, needed for this file format alone
    except ImportError as error:
        raise ConversionError(
            f"reading {file.name} needs torch: pip install 't5serve[torch]', "
            "or save the checkpoint as safetensors"
        ) from error
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ConversionError(f"{file} is not a PyTorch checkpoint: {error}") from error
    if not isinstance(state, dict):
        raise ConversionError(f"{file} holds no tensors by name")
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            raise ConversionError(f"{file}: {name} is not a tensor of floats")
        yield LazyTensor(name, tuple(tensor.shape), _torch_reader(tensor))


def _torch_reader(tensor: Any) -> Callable[[], F32]:  # noqa: ANN401 - torch is an extra
    return lambda: np.asarray(tensor.float().numpy())
