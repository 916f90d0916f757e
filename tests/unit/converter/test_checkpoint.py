import hashlib
from pathlib import Path

import numpy as np
import pytest

from support import tiny
from support.checkpoints import CONFIG_JSON, load_config, open_tensor, write_safetensors
from support.samples import write_json
from t5gguf.checkpoint import Checkpoint
from t5gguf.errors import ConversionError


def test_opening_reads_no_weights(tmp_path: Path) -> None:
    """Loading returns values that were written after the checkpoint was opened."""
    checkpoint = open_tensor(tmp_path, "F32", np.full(4, np.nan, np.float32))
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-16] + np.arange(4, dtype="<f4").tobytes())
    assert checkpoint.tensors["x"].load().tolist() == [0, 1, 2, 3]


def test_hashes_are_of_every_weight_file(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny.build("tied_relu", tmp_path, shards=2))
    assert checkpoint.hash_weights() == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    }


@pytest.mark.parametrize(
    ("architecture", "scaled", "own_head", "tied", "output_scale"),
    [
        ("T5ForConditionalGeneration", True, False, True, 64**-0.5),
        ("T5ForConditionalGeneration", False, True, False, 1.0),
        ("T5ForConditionalGeneration", False, False, True, 1.0),
        ("MT5ForConditionalGeneration", None, True, False, 1.0),
        ("MT5ForConditionalGeneration", None, False, True, 1.0),
        ("UMT5ForConditionalGeneration", None, True, False, 64**-0.5),
    ],
)
def test_configs_of_transformers_5_are_read_as_it_computes(
    tmp_path: Path,
    architecture: str,
    *,
    scaled: bool | None,
    own_head: bool,
    tied: bool,
    output_scale: float,
) -> None:
    """tie_word_embeddings is true in any of its files; only the weights show a separate head."""
    load_config(
        tmp_path,
        architectures=[architecture],
        d_model=64,
        tie_word_embeddings=True,
        scale_decoder_outputs=scaled,
        transformers_version="5.23.0",
    )
    names = ["shared.weight", *(["lm_head.weight"] if own_head else [])]
    rows = np.ones((8, 64), np.float32)
    write_safetensors(tmp_path / "model.safetensors", dict.fromkeys(names, ("F32", rows)))
    config = Checkpoint.open(tmp_path).config
    assert config.tie_word_embeddings is tied
    assert config.output_scale == pytest.approx(output_scale)


def test_a_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"config\.json"):
        Checkpoint.open(tmp_path)


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="is not a directory"):
        Checkpoint.open(tmp_path / "none")


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    """A reader would choose one of the two by chance."""
    write_json(tmp_path / "config.json", CONFIG_JSON)
    for shard in ("a.safetensors", "b.safetensors"):
        write_safetensors(tmp_path / shard, {"x": ("F32", np.zeros(1, np.float32))})
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    write_json(tmp_path / "model.safetensors.index.json", index)
    with pytest.raises(ConversionError, match="x is also in another shard"):
        Checkpoint.open(tmp_path)
