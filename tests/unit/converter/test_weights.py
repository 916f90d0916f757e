import json
import os
import pickle
import random
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support import tiny
from support.checkpoint_forms import PICKLE_FORMS, PICKLES, build_pickled, write_unpickled
from support.checkpoints import CONFIG_JSON, open_tensor, write_safetensors
from support.parity import golden
from support.samples import write_json
from t5gguf.checkpoint import Checkpoint
from t5gguf.errors import ConversionError
from t5gguf.tensor_map import match_tensors
from t5gguf.weights import open_weights


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


@pytest.mark.parametrize("form", PICKLE_FORMS)
def test_every_form_of_pickled_weights_is_read(tmp_path: Path, form: str) -> None:
    """The format before PyTorch 1.6, `nn.Parameter` values, and buffers of integers."""
    build_pickled(form, tmp_path / "pickled")
    write_unpickled(tmp_path / "plain")
    expected = Checkpoint.open(tmp_path / "plain")
    checkpoint = Checkpoint.open(tmp_path / "pickled")
    assert checkpoint.weight_files == (tmp_path / "pickled" / "pytorch_model.bin",)
    assert match_tensors(checkpoint) == match_tensors(expected)
    for name, tensor in expected.tensors.items():
        np.testing.assert_array_equal(
            checkpoint.tensors[name].load(), tensor.load().astype(np.float16).astype(np.float32)
        )


@pytest.mark.parametrize("form", ["layouts", "layouts_before_1_6"])
def test_pickled_tensors_of_every_type_and_layout_have_pytorch_s_values(form: str) -> None:
    """Views, transposed, expanded and empty tensors; integers and truth values are no weights."""
    layouts = golden("pickles")["layouts"]
    tensors = {tensor.name: tensor for tensor in open_weights(PICKLES / f"{form}.bin")}
    assert tensors.keys() == layouts.keys()
    integers = {"int64", "int32", "int16", "int8", "uint8", "bool"}
    assert {name for name, tensor in tensors.items() if not tensor.is_float} == integers
    for name, expected in layouts.items():
        assert list(tensors[name].shape) == expected["shape"]
        assert tensors[name].load().tolist() == expected["values"]


def write_archive(path: Path, pickled: bytes) -> None:
    """Writes a pickle as PyTorch does since 1.6, without storages."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)


class Command:
    """What a malicious checkpoint has: a call that unpickling makes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "epoch": 3}, "has no tensors, but state_dict, epoch: save"),
        (
            {"\x1b[31m": 1} | dict.fromkeys(range(20)),
            "but \ufffd.31m, 0, 1, 2, 3, 4, 5, 6, ...: save",
        ),
        ({}, "has no tensors, but nothing: save"),
        ([1], "does not map names to tensors"),
        (
            {"x": Fraction(1)},
            r"an object of fractions\.Fraction, but only plain tensors",
        ),
    ],
)
def test_a_pickle_that_is_no_state_is_refused(
    tmp_path: Path, content: object, message: str
) -> None:
    """A training state, a list, an object of another library: one printable line each."""
    path = tmp_path / "pytorch_model.bin"
    write_archive(path, pickle.dumps(content))
    with pytest.raises(ConversionError, match=message) as error:
        list(open_weights(path))
    assert str(error.value).isprintable()


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    write_archive(path, pickle.dumps(Command(tmp_path / "made")))
    with pytest.raises(ConversionError, match=r"has an object of \w+\.mkdir"):
        list(open_weights(path))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("form", ["layouts", "layouts_before_1_6"])
def test_pickled_weights_that_end_early_are_refused(tmp_path: Path, form: str) -> None:
    """Wherever the file ends."""
    whole = (PICKLES / f"{form}.bin").read_bytes()
    path = tmp_path / "pytorch_model.bin"
    for end in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:end])
        with pytest.raises(ConversionError, match=r"is not a PyTorch checkpoint|is truncated"):
            list(open_weights(path))


@pytest.mark.parametrize("form", ["layouts", "layouts_before_1_6"])
def test_pickled_weights_with_changed_bytes_are_read_or_refused(tmp_path: Path, form: str) -> None:
    """A changed file gives other values or one line, never another exception."""
    whole = (PICKLES / f"{form}.bin").read_bytes()
    path = tmp_path / "pytorch_model.bin"
    random_ = random.Random(0)
    for _ in range(500):
        changed = bytearray(whole)
        for _ in range(random_.randint(1, 3)):
            changed[random_.randrange(len(changed))] = random_.randrange(256)
        path.write_bytes(changed)
        try:
            for tensor in open_weights(path):
                tensor.load()
        except ConversionError as error:
            assert str(error).isprintable()  # noqa: PT017 - not every file is refused
