"""Checkpoints of a few tensors, and t5-base's config.json with changes."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from support.samples import write_json
from t5gguf.checkpoint import Checkpoint
from t5gguf.config import Config

CONFIG_JSON: dict[str, object] = {
    "architectures": ["T5ForConditionalGeneration"],
    "d_ff": 3072,
    "d_kv": 64,
    "d_model": 768,
    "decoder_start_token_id": 0,
    "eos_token_id": 1,
    "layer_norm_epsilon": 1e-06,
    "n_positions": 512,
    "num_heads": 12,
    "num_layers": 12,
    "pad_token_id": 0,
    "relative_attention_num_buckets": 32,
    "vocab_size": 32128,
}


def load_config(directory: Path, **changes: object) -> Config:
    """Loads t5-base's config.json with changes; None removes a field."""
    fields = {key: value for key, value in (CONFIG_JSON | changes).items() if value is not None}
    write_json(directory / "config.json", fields)
    return Config.load(directory)


def write_safetensors(path: Path, tensors: dict[str, tuple[str, NDArray[np.generic]]]) -> None:
    """Writes arrays under types of our choice, since NumPy has no BF16."""
    header: dict[str, object] = {}
    data = b""
    for name, (dtype, value) in tensors.items():
        start = len(data)
        data += value.tobytes()
        header[name] = {"dtype": dtype, "shape": value.shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def open_tensor(directory: Path, dtype: str, value: NDArray[np.generic]) -> Checkpoint:
    write_json(directory / "config.json", CONFIG_JSON)
    write_safetensors(directory / "model.safetensors", {"x": (dtype, value)})
    return Checkpoint.open(directory)
