"""What every golden module shares: loading a checkpoint, token ids, and the files' form."""

import base64
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel

from support import tiny

Json = dict[str, Any]

HERE = Path(__file__).parent

log = logging.getLogger("golden")

PAD, EOS, UNK = 0, 1, 2


def load(directory: Path) -> PreTrainedModel:
    """Load in float32, and refuse a checkpoint that transformers had to complete by itself."""
    loaded: tuple[PreTrainedModel, Json] = AutoModelForSeq2SeqLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    model, info = loaded
    if info["missing_keys"] or info["mismatched_keys"]:
        raise ValueError(directory, info)
    model.eval()
    return model


def load_tiny(flavour: str) -> PreTrainedModel:
    """Build and load a checkpoint of `tests/support/tiny.py`."""
    log.info("%s", flavour)
    with tempfile.TemporaryDirectory() as directory:
        return load(tiny.build(flavour, Path(directory)))


def suppressed(model: PreTrainedModel, pieces: int) -> list[int]:
    """Return the ids that no text has; `pieces` is the size of the tokenizer's vocabulary."""
    return [PAD, UNK, *range(pieces, model.config.vocab_size)]


def draw(model: PreTrainedModel, length: int) -> list[int]:
    """Draw token ids, the end mark last."""
    return [*torch.randint(UNK + 1, model.config.vocab_size, (length - 1,)).tolist(), EOS]


def encode(values: torch.Tensor) -> str:
    """Return base64 of little-endian float32."""
    return base64.b64encode(values.numpy().astype("<f4").tobytes()).decode()


def write(name: str, document: Json) -> None:
    """Write a file with one case a line, so that a change shows as the cases that changed."""
    document = {"transformers": transformers.__version__, **document}
    body = ",\n".join(f"{json.dumps(key)}: {lines(value)}" for key, value in document.items())
    path = HERE / name
    path.write_text(f"{{\n{body}\n}}\n", encoding="utf-8")
    log.info("%s: %d bytes", name, path.stat().st_size)


def lines(value: object) -> str:
    """Return JSON whose outermost list or mapping has one item a line."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"
    if isinstance(value, dict):
        items = (f"{json.dumps(key)}: {json.dumps(item)}" for key, item in value.items())
        return "{\n" + ",\n".join(items) + "\n}"
    return json.dumps(value)
