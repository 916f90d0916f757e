import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support import tiny
from support.samples import T5_BASE, write_json
from t5gguf.checkpoint import Checkpoint
from t5gguf.config import ARCHITECTURES, Config
from t5gguf.errors import ConversionError

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


def nearest_bfloat16(value: tiny.Float32) -> tiny.Float32:
    """The nearer of the two neighbours with 8 significant bits, the even one in a tie."""
    below = (value.view(np.uint32) & 0xFFFF0000).view(np.float32)
    above = ((value.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32)
    down, up = np.abs(value - below), np.abs(above - value)
    odd = (value.view(np.uint32) >> 16) % 2 == 1
    return np.where((up < down) | ((up == down) & odd), above, below)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build("tied_relu", tmp_path_factory.mktemp("checkpoint") / "tied")


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_type_and_number_of_shards_reads_to_the_rounded_values(
    tmp_path: Path, dtype: str, shards: int
) -> None:
    """A tensor is what its type makes of the drawn value, whichever shard it is in."""
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
    """Literal bit patterns, the largest finite value among them, read to their values."""
    bits = np.array([[0x3F80, 0xC000], [0x3E80, 0x7F7F]], np.uint16)
    values = open_tensor(tmp_path, "BF16", bits).tensors["x"].load()
    assert values.tolist() == [[1.0, -2.0], [0.25, 3.3895313892515355e38]]


def test_float64_is_read_as_float32(tmp_path: Path) -> None:
    values = open_tensor(tmp_path, "F64", np.array([1.5, -0.1])).tensors["x"].load()
    assert values.tolist() == [1.5, float(np.float32(-0.1))]


def test_opening_reads_no_weights(tmp_path: Path) -> None:
    """Values that are written after opening are the ones that loading returns."""
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


def test_fields_that_t5_base_lacks_have_hugging_faces_defaults(tmp_path: Path) -> None:
    """The config.json of the original T5 says nothing of activation, tying and decoder layers."""
    config = load_config(tmp_path)
    assert config == T5_BASE
    assert config.output_scale == pytest.approx(768**-0.5)
    assert not config.has_bias_per_layer


def test_null_fields_have_the_defaults_too(tmp_path: Path) -> None:
    """Hugging Face writes `"num_decoder_layers": null` when nobody set it."""
    nulls = ("num_decoder_layers", "pad_token_id", "decoder_start_token_id")
    write_json(tmp_path / "config.json", CONFIG_JSON | dict.fromkeys(nulls))
    assert Config.load(tmp_path) == T5_BASE


def test_the_decoder_starts_with_the_padding_unless_told_otherwise(tmp_path: Path) -> None:
    """T5's own config.json may leave its start token out."""
    started = load_config(tmp_path, decoder_start_token_id=None, pad_token_id=3)
    assert started.decoder_start_token_id == 3
    assert load_config(tmp_path, pad_token_id=3).decoder_start_token_id == 0


@pytest.mark.parametrize(
    ("architecture", "is_gated", "tied", "has_bias_per_layer"),
    [
        ("T5WithLMHeadModel", False, True, False),
        ("MT5ForConditionalGeneration", True, False, False),
        ("UMT5ForConditionalGeneration", True, True, True),
    ],
)
def test_defaults_follow_the_architecture(
    tmp_path: Path, architecture: str, *, is_gated: bool, tied: bool, has_bias_per_layer: bool
) -> None:
    """mT5 and UMT5 are gated without saying so, and of these only mT5 is untied."""
    config = load_config(tmp_path, architectures=[architecture])
    assert config.is_gated is is_gated
    assert config.tie_word_embeddings is tied
    assert config.has_bias_per_layer is has_bias_per_layer


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
def test_what_transformers_5_saves_is_read_as_it_computes(
    tmp_path: Path,
    architecture: str,
    *,
    scaled: bool | None,
    own_head: bool,
    tied: bool,
    output_scale: float,
) -> None:
    """It writes tie_word_embeddings as true of any model; the weights tell whether it is so."""
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


def test_an_untied_head_is_not_scaled(tmp_path: Path) -> None:
    config = load_config(tmp_path, tie_word_embeddings=False)
    assert config.output_scale == 1.0


def test_attention_may_be_wider_than_the_model(tmp_path: Path) -> None:
    """T5's d_kv is a field of its own: heads x d_kv need not be d_model."""
    assert load_config(tmp_path, d_model=512, num_heads=6, d_kv=64).d_inner == 384


def test_a_whole_number_is_a_float(tmp_path: Path) -> None:
    epsilon = load_config(tmp_path, layer_norm_epsilon=1).layer_norm_epsilon
    assert isinstance(epsilon, float)


def test_every_fault_of_the_config_is_named_at_once(tmp_path: Path) -> None:
    """One a line, those of what llama.cpp can't compute among them."""
    with pytest.raises(ConversionError) as error:
        load_config(
            tmp_path,
            architectures=["BartForConditionalGeneration"],
            feed_forward_proj="gated-silu",
            relative_attention_num_buckets=2,
            d_model="768",
            d_kv=None,
            num_heads=True,
            d_ff=-1,
            tie_word_embeddings=1,
            layer_norm_epsilon="small",
            vocab_size=32128.0,
        )
    head, *faults = str(error.value).splitlines()
    assert head == f"{tmp_path / 'config.json'}: 10 fault(s)"
    assert sorted(faults) == [
        f"  architecture BartForConditionalGeneration is not one of {', '.join(ARCHITECTURES)}",
        "  d_ff is -1, expected int",
        "  d_kv is None, expected int",
        "  d_model is '768', expected int",
        "  feed_forward_proj is 'gated-silu', but llama.cpp supports only relu and gated-gelu",
        "  layer_norm_epsilon is 'small', expected float",
        "  num_heads is True, expected int",
        "  relative_attention_num_buckets is 2, expected a multiple of 4",
        "  tie_word_embeddings is 1, expected bool",
        "  vocab_size is 32128.0, expected int",
    ]


@pytest.mark.parametrize("name", ["decoder_start_token_id", "pad_token_id", "eos_token_id"])
def test_special_ids_lie_within_the_vocabulary(tmp_path: Path, name: str) -> None:
    """One beyond would read past the embedding."""
    assert getattr(load_config(tmp_path, **{name: 32127}), name) == 32127
    with pytest.raises(ConversionError) as error:
        load_config(tmp_path, **{name: 32128})
    assert str(error.value).splitlines()[1:] == [f"  {name} is 32128, but vocab_size is 32128"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("architectures", [5], "architecture 5 is not one of"),
        ("architectures", 5, "architecture None is not one of"),
        ("architectures", [], "architecture None is not one of"),
        ("architectures", [["T5ForConditionalGeneration"]], "architecture .* is not one of"),
        ("architectures", "T5ForConditionalGeneration", "architecture None is not one of"),
        ("feed_forward_proj", ["relu"], r"feed_forward_proj is \['relu'\], but"),
        ("feed_forward_proj", {}, r"feed_forward_proj is \{\}, but"),
        ("relative_attention_num_buckets", 2, "buckets is 2, expected a multiple of 4"),
        ("relative_attention_num_buckets", 30, "buckets is 30, expected a multiple of 4"),
        ("relative_attention_num_buckets", "32", "buckets is '32', expected int"),
        ("num_layers", "12", "num_layers is '12', expected int"),
        ("vocab_size", None, "vocab_size is None, expected int"),
        ("pad_token_id", [0], r"pad_token_id is \[0\], expected int"),
    ],
)
def test_odd_values_are_one_fault_each(
    tmp_path: Path, field: str, value: object, message: str
) -> None:
    """Neither a traceback, nor a second fault about what follows from the first."""
    with pytest.raises(ConversionError, match=rf"1 fault\(s\)\n  .*{message}"):
        load_config(tmp_path, **{field: value})


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_config_that_is_no_json_object_is_refused_with_its_path(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConversionError, match=r"config\.json: "):
        Config.load(tmp_path)


def test_a_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"config\.json"):
        Checkpoint.open(tmp_path)


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="is not a directory"):
        Checkpoint.open(tmp_path / "none")


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


def test_an_index_can_not_point_out_of_the_directory(tied: Path, tmp_path: Path) -> None:
    """A shard's name comes from a downloaded file: `../` in it must not be followed."""
    inside = tmp_path / "inside"
    inside.mkdir()
    weights = (tied / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    (inside / "config.json").write_bytes((tied / "config.json").read_bytes())
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


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    """Which of the two a reader took would be chance."""
    write_json(tmp_path / "config.json", CONFIG_JSON)
    for shard in ("a.safetensors", "b.safetensors"):
        write_safetensors(tmp_path / shard, {"x": ("F32", np.zeros(1, np.float32))})
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    write_json(tmp_path / "model.safetensors.index.json", index)
    with pytest.raises(ConversionError, match="x is also in another shard"):
        Checkpoint.open(tmp_path)


def test_truncated_weights_are_refused_on_opening(tmp_path: Path) -> None:
    """A download that broke off is config before anything is computed."""
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
    """Else it would be config when it is loaded, with a traceback, after a while of work."""
    header = {"x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | change}
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    write_json(tmp_path / "config.json", CONFIG_JSON)
    with pytest.raises(ConversionError, match=message):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>not config</html>", b"\2\0\0\0\0\0\0\0[]"])
def test_weights_in_no_known_format_are_refused(tied: Path, tmp_path: Path, content: bytes) -> None:
    """An empty file, a web page under the weights' name, and a header that is no object."""
    (tmp_path / "config.json").write_bytes((tied / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ConversionError, match="is not a safetensors file"):
        Checkpoint.open(tmp_path)


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    """A checkpoint that someone has quantised already is not what it seems."""
    with pytest.raises(ConversionError, match="x has type I8, not a float"):
        open_tensor(tmp_path, "I8", np.zeros(4, np.int8))


def test_pickled_weights_without_torch_say_what_to_install(
    tied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "config.json").write_bytes((tied / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConversionError, match=r"pip install 't5serve\[torch\]'"):
        Checkpoint.open(tmp_path)
