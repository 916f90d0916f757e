"""A T5 checkpoint in Hugging Face's layout: config.json and lazily read weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from t5gguf.config import Config
from t5gguf.errors import ConversionError
from t5gguf.hashing import hash_file
from t5gguf.stray_files import check_directory
from t5gguf.weights import LazyTensor, find_weight_files, open_weights

HEAD = "lm_head.weight"
LANDMARK = "decoder.final_layer_norm.weight"  # every T5 has it


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint directory: its config, its tensors by Hugging Face name, its weight files."""

    directory: Path
    config: Config
    tensors: Mapping[str, LazyTensor]
    weight_files: tuple[Path, ...]

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Reads config.json and the headers of the weight files.

        Raises:
            ConversionError: the directory holds no T5, or a file is unreadable or missing.
        """
        check_directory(directory)
        config = Config.load(directory)
        files = find_weight_files(directory)
        tensors: dict[str, LazyTensor] = {}
        for file in files:
            for tensor in open_weights(file):
                if tensor.name in tensors:
                    raise ConversionError(f"{file}: {tensor.name} is also in another shard")
                tensors[tensor.name] = tensor
        tensors = _strip_wrapper(tensors)
        if config.is_saved_by_transformers_5 and HEAD in tensors:
            config = dataclasses.replace(config, tie_word_embeddings=False)
        return cls(directory, config, tensors, files)

    def hash_weights(self) -> dict[str, str]:
        """Returns the SHA-256 of each weight file, by file name."""
        return {file.name: hash_file(file) for file in self.weight_files}


def _strip_wrapper(tensors: dict[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Returns the tensors without a prefix that all of their names share.

    DataParallel puts `module.` before the names, torch.compile `_orig_mod.`, a class of one's own
    the name of its field.
    """
    prefix = next((n.removesuffix(LANDMARK) for n in tensors if n.endswith(LANDMARK)), "")
    if not prefix or not all(name.startswith(prefix) for name in tensors):
        return tensors
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
