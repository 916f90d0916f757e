import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import tiny
from support.samples import T5_BASE, write_json
from t5gguf.checkpoint import Checkpoint
from t5gguf.config import Config
from t5gguf.errors import ConversionError
from t5gguf.tensor_map import Role, map_tensors, match_tensors
from t5gguf.weights import LazyTensor

GOOGLES_EXTRA = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def open_flavour(directory: Path, flavour: str, tensors: Mapping[str, tiny.Float32]) -> Checkpoint:
    """A flavour's checkpoint with these tensors in memory."""
    write_json(directory / "config.json", tiny.FLAVOURS[flavour])

    def reader(value: tiny.Float32) -> Callable[[], tiny.Float32]:
        return lambda: value

    lazy = {name: LazyTensor(name, value.shape, reader(value)) for name, value in tensors.items()}
    return Checkpoint(directory, Config.load(directory), lazy, ())


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_every_flavour_matches(tmp_path: Path, flavour: str) -> None:
    """Each tensor is used once, or is one of those that a reader must ignore."""
    tensors = tiny.tensors(flavour)
    used = {entry.source for entry in match_tensors(open_flavour(tmp_path, flavour, tensors))}
    copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"}
    ignored = {GOOGLES_EXTRA, *copies} if flavour == "google_extra" else set()
    assert used == tensors.keys() - ignored


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_shapes_are_those_of_the_sources(tmp_path: Path, flavour: str) -> None:
    tensors = tiny.tensors(flavour)
    for entry in match_tensors(open_flavour(tmp_path, flavour, tensors)):
        assert entry.shape == tensors[entry.source].shape


def test_all_faults_are_listed_in_one_error(tmp_path: Path) -> None:
    dense = "encoder.block.0.layer.1.DenseReluDense"
    tensors = tiny.tensors("google_extra")
    del tensors["encoder.block.1.layer.0.SelfAttention.q.weight"]
    del tensors["decoder.final_layer_norm.weight"]
    tensors[f"{dense}.wi.weight"] = np.zeros((3, 5), np.float32)
    tensors[f"{dense}.wi.bias"] = np.zeros(128, np.float32)
    tensors["decoder.embed_tokens.weight"] = tensors["shared.weight"] + 1
    with pytest.raises(ConversionError) as error:
        match_tensors(open_flavour(tmp_path, "google_extra", tensors))
    head, *faults = str(error.value).splitlines()
    assert head == f"{tmp_path}: 5 fault(s)"
    assert sorted(fault.strip() for fault in faults) == [
        "missing: decoder.final_layer_norm.weight",
        "missing: encoder.block.1.layer.0.SelfAttention.q.weight",
        "unequal: decoder.embed_tokens.weight should equal shared.weight",
        f"unknown: {dense}.wi.bias",
        f"wrong shape: {dense}.wi.weight is (3, 5), config.json says (128, 64)",
    ]


def test_googles_unused_bias_is_dropped_in_the_first_layer_only(tmp_path: Path) -> None:
    """Cross-attention has no position bias: a second such tensor is not Google's slip."""
    tensors = tiny.tensors("tied_relu")
    tensors[GOOGLES_EXTRA] = np.zeros((32, 4), np.float32)
    match_tensors(open_flavour(tmp_path, "tied_relu", tensors))
    tensors[GOOGLES_EXTRA.replace("block.0", "block.1")] = tensors[GOOGLES_EXTRA]
    with pytest.raises(ConversionError, match=r"1 fault\(s\)\n  unknown: decoder\.block\.1\.layer"):
        match_tensors(open_flavour(tmp_path, "tied_relu", tensors))


@pytest.mark.parametrize(
    "alias", ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"]
)
def test_a_copy_of_the_embedding_must_equal_it(tmp_path: Path, alias: str) -> None:
    """A tied config with a head that was trained separately would give wrong logits silently."""
    tensors = tiny.tensors("tied_relu")
    tensors[alias] = tensors["shared.weight"].copy()
    match_tensors(open_flavour(tmp_path, "tied_relu", tensors))
    tensors[alias][-1, -1] += 1
    with pytest.raises(ConversionError, match=f"unequal: {alias} should equal shared.weight"):
        match_tensors(open_flavour(tmp_path, "tied_relu", tensors))


@pytest.mark.parametrize("alias", ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"])
def test_an_embedding_under_another_name_is_taken(tmp_path: Path, alias: str) -> None:
    """A file keeps one name for tensors that share memory, not always `shared.weight`."""
    tensors = tiny.tensors("gated_untied")
    tensors[alias] = tensors.pop("shared.weight")
    first = match_tensors(open_flavour(tmp_path, "gated_untied", tensors))[0]
    assert (first.name, first.source, first.role) == ("token_embd.weight", alias, Role.EMBEDDING)


def test_a_tied_embedding_may_be_stored_under_the_heads_name(tmp_path: Path) -> None:
    """The name that a file keeps for tensors that share memory may be the head's."""
    tensors = tiny.tensors("tied_relu")
    tensors["lm_head.weight"] = tensors.pop("shared.weight")
    entries = match_tensors(open_flavour(tmp_path, "tied_relu", tensors))
    assert [entry.name for entry in entries if entry.source == "lm_head.weight"] == [
        "token_embd.weight"
    ]


def test_a_head_does_not_stand_in_for_an_untied_embedding(tmp_path: Path) -> None:
    tensors = tiny.tensors("gated_untied")
    del tensors["shared.weight"]
    with pytest.raises(ConversionError, match=r"1 fault\(s\)\n  missing: shared\.weight"):
        match_tensors(open_flavour(tmp_path, "gated_untied", tensors))


def test_a_gated_config_over_ungated_weights_is_refused(tmp_path: Path) -> None:
    """A wrong feed_forward_proj shows in the names: wi instead of wi_0 and wi_1."""
    tensors = tiny.tensors("unequal")
    with pytest.raises(ConversionError) as error:
        match_tensors(open_flavour(tmp_path, "gated_untied", tensors))
    assert "missing: encoder.block.0.layer.1.DenseReluDense.wi_0.weight" in str(error.value)
    assert "unknown: encoder.block.0.layer.1.DenseReluDense.wi.weight" in str(error.value)


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (T5_BASE, 257),
        (dataclasses.replace(T5_BASE, is_gated=True, tie_word_embeddings=False), 282),
        (dataclasses.replace(T5_BASE, architecture="UMT5ForConditionalGeneration"), 279),
    ],
    ids=["t5", "t5 v1.1", "umt5"],
)
def test_a_model_of_t5_bases_shape_has_as_many_tensors(config: Config, count: int) -> None:
    """T5-base has 257 tensors; v1.1 also has 24 gates and a head, UMT5 also has 22 biases."""
    assert len(list(map_tensors(config))) == count


@given(
    encoder_layers=st.integers(1, 30),
    decoder_layers=st.integers(1, 30),
    gated=st.booleans(),
    tied=st.booleans(),
    architecture=st.sampled_from(["T5ForConditionalGeneration", "UMT5ForConditionalGeneration"]),
)
def test_names_are_unique_and_q_k_v_adjacent(
    *, encoder_layers: int, decoder_layers: int, gated: bool, tied: bool, architecture: str
) -> None:
    """For every shape, names and sources are unique, and q, k, v follow in that order."""
    config = dataclasses.replace(
        T5_BASE,
        architecture=architecture,
        num_layers=encoder_layers,
        num_decoder_layers=decoder_layers,
        is_gated=gated,
        tie_word_embeddings=tied,
        scale_decoder_outputs=tied,
    )
    entries = list(map_tensors(config))
    names = [entry.name for entry in entries]
    assert len(set(names)) == len(names)
    assert len({entry.source for entry in entries}) == len(names)
    queries = [index for index, name in enumerate(names) if name.endswith("_q.weight")]
    assert len(queries) == encoder_layers + 2 * decoder_layers
    for index in queries:
        stem = names[index].removesuffix("q.weight")
        assert names[index + 1 : index + 3] == [f"{stem}k.weight", f"{stem}v.weight"]
        assert len({entry.shape for entry in entries[index : index + 3]}) == 1


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [("T5ForConditionalGeneration", [0]), ("UMT5ForConditionalGeneration", [0, 1, 2])],
)
def test_only_umt5_has_a_position_bias_in_each_layer(architecture: str, layers: list[int]) -> None:
    config = dataclasses.replace(
        T5_BASE, architecture=architecture, num_layers=3, num_decoder_layers=3
    )
    biases = [entry for entry in map_tensors(config) if entry.role is Role.BIAS]
    assert [(entry.name, entry.source) for entry in biases] == [
        (
            f"{short}.blk.{layer}.attn_rel_b.weight",
            f"{side}.block.{layer}.layer.0.SelfAttention.relative_attention_bias.weight",
        )
        for short, side in (("enc", "encoder"), ("dec", "decoder"))
        for layer in layers
    ]


def test_cross_attention_and_feed_forward_come_from_the_decoders_own_sublayers() -> None:
    """The feed-forward is sublayer 1 in the encoder and 2 in the decoder."""
    sources = {entry.name: entry.source for entry in map_tensors(T5_BASE)}
    assert (
        sources["enc.blk.3.ffn_down.weight"] == "encoder.block.3.layer.1.DenseReluDense.wo.weight"
    )
    assert (
        sources["dec.blk.3.ffn_down.weight"] == "decoder.block.3.layer.2.DenseReluDense.wo.weight"
    )
    assert sources["dec.blk.3.ffn_norm.weight"] == "decoder.block.3.layer.2.layer_norm.weight"
    assert (
        sources["dec.blk.3.cross_attn_norm.weight"] == "decoder.block.3.layer.1.layer_norm.weight"
    )
    assert sources["dec.blk.3.cross_attn_o.weight"] == (
        "decoder.block.3.layer.1.EncDecAttention.o.weight"
    )


def test_the_gate_is_the_one_that_is_activated() -> None:
    """Hugging Face activates wi_0; llama.cpp activates ffn_gate."""
    config = dataclasses.replace(T5_BASE, is_gated=True)
    sources = {entry.name: entry.source for entry in map_tensors(config)}
    dense = "encoder.block.0.layer.1.DenseReluDense"
    assert sources["enc.blk.0.ffn_gate.weight"] == f"{dense}.wi_0.weight"
    assert sources["enc.blk.0.ffn_up.weight"] == f"{dense}.wi_1.weight"
