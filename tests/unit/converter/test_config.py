from pathlib import Path

import pytest

from support.checkpoints import CONFIG_JSON, load_config
from support.samples import T5_BASE, write_json
from t5gguf.config import ARCHITECTURES, Config
from t5gguf.errors import ConversionError


def test_fields_that_t5_base_lacks_have_hugging_faces_defaults(tmp_path: Path) -> None:
    """The config.json of the original T5 lacks activation, tying and decoder layers."""
    config = load_config(tmp_path)
    assert config == T5_BASE
    assert config.output_scale == pytest.approx(768**-0.5)
    assert not config.has_bias_per_layer


def test_null_fields_have_the_defaults_too(tmp_path: Path) -> None:
    """Hugging Face writes `"num_decoder_layers": null` when nobody set it."""
    nulls = ("num_decoder_layers", "pad_token_id", "decoder_start_token_id")
    write_json(tmp_path / "config.json", CONFIG_JSON | dict.fromkeys(nulls))
    assert Config.load(tmp_path) == T5_BASE


def test_the_decoder_starts_with_the_padding_by_default(tmp_path: Path) -> None:
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
    """mT5 and UMT5 are gated by default, and only mT5 is untied by default."""
    config = load_config(tmp_path, architectures=[architecture])
    assert config.is_gated is is_gated
    assert config.tie_word_embeddings is tied
    assert config.has_bias_per_layer is has_bias_per_layer


def test_an_untied_head_is_not_scaled(tmp_path: Path) -> None:
    config = load_config(tmp_path, tie_word_embeddings=False)
    assert config.output_scale == 1.0


def test_attention_may_be_wider_than_the_model(tmp_path: Path) -> None:
    """T5's d_kv is a separate field: heads x d_kv need not be d_model."""
    assert load_config(tmp_path, d_model=512, num_heads=6, d_kv=64).d_inner == 384


def test_a_whole_number_is_a_float(tmp_path: Path) -> None:
    epsilon = load_config(tmp_path, layer_norm_epsilon=1).layer_norm_epsilon
    assert isinstance(epsilon, float)


def test_every_fault_of_the_config_is_named_at_once(tmp_path: Path) -> None:
    """One per line, including features that llama.cpp can't compute."""
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


@pytest.mark.parametrize(
    ("architectures", "model_type", "architecture"),
    [
        (None, "t5", "T5ForConditionalGeneration"),
        (None, "mt5", "MT5ForConditionalGeneration"),
        (None, "umt5", "UMT5ForConditionalGeneration"),
        ([], "t5", "T5ForConditionalGeneration"),
        (["T5Model"], "t5", "T5ForConditionalGeneration"),
        (["MT5Model"], "mt5", "MT5ForConditionalGeneration"),
    ],
)
def test_a_config_without_a_head_s_class_is_read_by_its_model_type(
    tmp_path: Path, architectures: object, model_type: str, architecture: str
) -> None:
    """Transformers answers with such a checkpoint, too."""
    config = load_config(tmp_path, architectures=architectures, model_type=model_type)
    assert config.architecture == architecture


def test_an_end_mark_may_be_a_list_of_one(tmp_path: Path) -> None:
    """As generation code writes it; the engine ends answers with one token."""
    assert load_config(tmp_path, eos_token_id=[1]).eos_token_id == 1
    for value in ([1, 2], [], ["1"], [True], [-1]):
        with pytest.raises(ConversionError, match=r"eos_token_id is \[.*ends answers with one"):
            load_config(tmp_path, eos_token_id=value)


@pytest.mark.parametrize("name", ["decoder_start_token_id", "pad_token_id", "eos_token_id"])
def test_special_ids_lie_within_the_vocabulary(tmp_path: Path, name: str) -> None:
    """An id beyond the vocabulary would read past the embedding."""
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
    """There is no traceback, and no second fault that follows from the first."""
    with pytest.raises(ConversionError, match=rf"1 fault\(s\)\n  .*{message}"):
        load_config(tmp_path, **{field: value})


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_config_that_is_no_json_object_is_refused_with_its_path(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConversionError, match=r"config\.json: "):
        Config.load(tmp_path)
