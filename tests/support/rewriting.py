"""Copies of GGUF files with other metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter

from t5engine.reader import GGUFFile


def rewrite(file: Path, out: Path, changes: dict[str, Any], rows: int | None = None) -> Path:
    """Copies a file with other metadata; None leaves a key out."""
    source = GGUFFile.open(file)
    writer = GGUFWriter(out, "t5")
    for key, value in (source.metadata | changes).items():
        if key == "general.architecture" or value is None:
            continue
        if isinstance(value, np.ndarray):
            items = value.tobytes() if value.dtype.itemsize == 1 else value.tolist()
            writer.add_array(key, items)
        else:
            add: dict[type, Any] = {
                bool: writer.add_bool,
                int: writer.add_uint32,
                float: writer.add_float32,
            }
            add |= {str: writer.add_string, list: writer.add_array}
            add[type(value)](key, value)
    for name, tensor in source.tensors.items():
        values = tensor.read_rows().reshape(tensor.shape)
        writer.add_tensor(name, values[:rows] if name == "token_embd.weight" else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
