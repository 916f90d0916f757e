import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support import tiny
from support.checkpoints import CONFIG_JSON, open_tensor, write_safetensors
from support.samples import write_json
from t5gguf.checkpoint import Checkpoint
from t5gguf.errors import ConversionError
from t5gguf.tensor_map import match_tensors


def nearest_bfloat16(value: tiny.Float32) -> tiny.Float32:
    """Rounds to 8 significant bits: to the nearer neighbour, to the even one in a tie."""
    below = (value.view(np.uint32) & 0xFFFF0000).view(np.float32)
    above = ((value.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32)
    down, up = np.abs(value - below), np.abs(above - value)
    odd = (value.view(np.uint32) >> 16) % 2 == 1
    return np.where((up < down) | ((up == down) & odd), above, below)


@pytest.fixture(scope="module")
def tied_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("tied_relu", tmp_path_factory.mktemp("checkpoint") / "tied")


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_type_and_number_of_shards_reads_to_the_rounded_values(
    tmp_path: Path, dtype: str, shards: int
) -> None:
    """A tensor has the drawn values rounded to its type, whichever shard holds it."""
    checkpoint = Checkpoint.open(tiny.build("gated_untied", tmp_path, dtype=dtype, shards=shards))
    drawn = tiny.tensors("gated_untied")
    assert checkpoint.tensors.keys() == drawn.keys()
    assert len(checkpoint.weight_files) == shards
    for name, value in drawn.items():
        loaded = checkpoint.tensors[name].load()
        expected = {
            "float32": value,
            "float16": value.astype(np.float16).astype(np.float32),
            "bfloat16": nearest_bfloat16(value),
        }[dtype]
        assert loaded.dtype == np.float32
        assert checkpoint.tensors[name].shape == value.shape
        np.testing.assert_array_equal(loaded, expected, err_msg=name)


def test_bfloat16_bits_are_the_upper_half_of_float32(tmp_path: Path) -> None:
    """Literal bit patterns are read to their values, including the largest finite value."""
    bits = np.array([[0x3F80, 0xC000], [0x3E80, 0x7F7F]], np.uint16)
    values = open_tensor(tmp_path, "BF16", bits).tensors["x"].load()
    assert values.tolist() == [[1.0, -2.0], [0.25, 3.3895313892515355e38]]


def test_float64_is_read_as_float32(tmp_path: Path) -> None:
    values = open_tensor(tmp_path, "F64", np.array([1.5, -0.1])).tensors["x"].load()
    assert values.tolist() == [1.5, float(np.float32(-0.1))]


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", CONFIG_JSON)
    with pytest.raises(ConversionError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        Checkpoint.open(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    tiny.build("tied_relu", tmp_path, shards=3)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(
        ConversionError, match=r"shards missing: model-00002-of-00003\.safetensors$"
    ):
        Checkpoint.open(tmp_path)


def test_an_index_can_not_point_out_of_the_directory(tied_checkpoint: Path, tmp_path: Path) -> None:
    """A shard's name comes from a downloaded file: `../` in it must not be followed."""
    inside = tmp_path / "inside"
    inside.mkdir()
    weights = (tied_checkpoint / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    (inside / "config.json").write_bytes((tied_checkpoint / "config.json").read_bytes())
    index = {"weight_map": {"shared.weight": "../model.safetensors"}}
    write_json(inside / "model.safetensors.index.json", index)
    with pytest.raises(ConversionError, match=r"shards missing: \.\./model\.safetensors"):
        Checkpoint.open(inside)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {}}, "shards missing: all"),
        ({}, "weight_map does not map tensors to files"),
        ({"weight_map": None}, "weight_map does not map tensors to files"),
        ({"weight_map": ["a.safetensors"]}, "weight_map does not map tensors to files"),
        ({"weight_map": {"x": 5}}, "weight_map does not map tensors to files"),
        ({"weight_map": {"x": ["a"], "y": "a"}}, "weight_map does not map tensors to files"),
        ([], "expected a JSON object"),
    ],
    ids=["empty", "none", "null", "list", "number", "list of files", "no object"],
)
def test_an_index_that_names_no_shards_is_refused(
    tmp_path: Path, index: object, message: str
) -> None:
    write_json(tmp_path / "config.json", CONFIG_JSON)
    write_json(tmp_path / "model.safetensors.index.json", index)
    with pytest.raises(ConversionError, match=rf"model\.safetensors\.index\.json: {message}"):
        Checkpoint.open(tmp_path)


def test_truncated_weights_are_refused_on_opening(tmp_path: Path) -> None:
    """An incomplete download is noticed before anything is computed."""
    tiny.build("tied_relu", tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConversionError, match=r"is truncated: \S+ ends after the end of the file"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [3]}, "x has 16 bytes, expected 12"),
        ({"shape": [2, 2, 2]}, "x has 16 bytes, expected 32"),
        ({"dtype": "F16"}, "x has 16 bytes, expected 8"),
        ({"data_offsets": [16, 0]}, "x has a shape or an offset that is no whole number"),
        ({"data_offsets": [-16, 0]}, "x lies in the header"),
        ({"data_offsets": [0]}, "is not a safetensors file"),
        ({"shape": [None]}, "no whole number"),
        ({"shape": [-2, -2]}, "no whole number"),
        ({"dtype": ["F32"]}, "has type"),
    ],
)
def test_a_tensor_whose_bytes_do_not_fit_its_shape_is_refused_on_opening(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    """Otherwise loading it would fail later, with a traceback, after some work."""
    header = {"x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | change}
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    write_json(tmp_path / "config.json", CONFIG_JSON)
    with pytest.raises(ConversionError, match=message):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\2\0\0\0\0\0\0\0[]"])
def test_weights_in_no_known_format_are_refused(
    tied_checkpoint: Path, tmp_path: Path, content: bytes
) -> None:
    """An empty file, a text under the weights' name, and a header that is no object."""
    (tmp_path / "config.json").write_bytes((tied_checkpoint / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ConversionError, match="is not a safetensors file"):
        Checkpoint.open(tmp_path)


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    """A checkpoint that is quantised already can't be converted; it is one sentence."""
    tiny.build("tied_relu", tmp_path)
    stored: dict[str, tuple[str, NDArray[np.generic]]] = {
        name: ("I8" if value.ndim == 2 else "F32", value.astype("i1" if value.ndim == 2 else "<f4"))
        for name, value in tiny.tensors("tied_relu").items()
    }
    write_safetensors(tmp_path / "model.safetensors", stored)
    with pytest.raises(ConversionError, match=r"\d+ weight\(s\) are of I8, .* bitsandbytes"):
        match_tensors(Checkpoint.open(tmp_path))


def test_a_buffer_of_integers_is_ignored(tmp_path: Path) -> None:
    """Position ids and step counts stand beside the weights in some checkpoints."""
    tiny.build("tied_relu", tmp_path)
    stored: dict[str, tuple[str, NDArray[np.generic]]] = {
        name: ("F32", value) for name, value in tiny.tensors("tied_relu").items()
    }
    stored |= {"steps": ("I64", np.zeros(1, np.int64)), "mask": ("BOOL", np.zeros(4, np.bool_))}
    write_safetensors(tmp_path / "model.safetensors", stored)
    names = {entry.source for entry in match_tensors(Checkpoint.open(tmp_path))}
    assert names == tiny.tensors("tied_relu").keys()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "t5."])
def test_a_prefix_that_all_tensors_share_is_left_out(tmp_path: Path, prefix: str) -> None:
    tiny.build("gated_untied", tmp_path)
    drawn = tiny.tensors("gated_untied")
    stored: dict[str, tuple[str, NDArray[np.generic]]] = {
        prefix + name: ("F32", value) for name, value in drawn.items()
    }
    write_safetensors(tmp_path / "model.safetensors", stored)
    assert Checkpoint.open(tmp_path).tensors.keys() == drawn.keys()


@pytest.mark.parametrize("form", ["archive", "before 1.6", "parameters", "buffers"])
def test_every_form_of_pickled_weights_is_read(tmp_path: Path, form: str) -> None:
    """The format before PyTorch 1.6, `nn.Parameter` values, and buffers of integers."""
    torch = pytest.importorskip("torch")
    tiny.build("tied_relu", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    drawn = tiny.tensors("tied_relu")
    state = {name: torch.from_numpy(value) for name, value in drawn.items()}
    if form == "parameters":
        state = {name: torch.nn.Parameter(value) for name, value in state.items()}
    if form == "buffers":
        state["steps"] = torch.zeros(1, dtype=torch.int64)
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path, _use_new_zipfile_serialization=form != "before 1.6")
    checkpoint = Checkpoint.open(tmp_path)
    assert {entry.source for entry in match_tensors(checkpoint)} == drawn.keys()
    for name, value in drawn.items():
        np.testing.assert_array_equal(checkpoint.tensors[name].load(), value)


def test_a_training_state_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tiny.build("tied_relu", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConversionError, match="has no tensors, but state_dict, epoch: save"):
        Checkpoint.open(tmp_path)


def test_pickled_weights_without_torch_name_the_package_to_install(
    tied_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "config.json").write_bytes((tied_checkpoint / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConversionError, match=r"pip install 't5serve\[torch\]'"):
        Checkpoint.open(tmp_path)
