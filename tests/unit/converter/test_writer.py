import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from gguf import TokenType
from safetensors.numpy import save_file

from support import tiny
from support.conversions import PROVENANCE, QUERIES, Conversion
from support.samples import read_proto, write_json
from t5engine.reader import GGUFFile
from t5gguf.checkpoint import Checkpoint
from t5gguf.convert import Converter
from t5gguf.quantize import POLICIES
from t5gguf.writer import Provenance, padded_rows, write_file


def test_f32_values_are_the_checkpoints(tied: Conversion) -> None:
    """All tensors except the scaled norm equal those of the source bit for bit."""
    checkpoint = Checkpoint.open(tied.directory)
    for tensor in tied.written.tensors:
        if tensor.entry.name != "dec.output_norm.weight":
            values = checkpoint.tensors[tensor.entry.source].load()
            np.testing.assert_array_equal(tied.values(tensor.entry.name), values)


def test_the_decoders_last_norm_carries_the_output_scale_of_tied_models_only(
    conversions: dict[str, Conversion],
) -> None:
    """llama.cpp does not scale the output of a tied model; an untied head needs no scale."""
    for flavour, scale in (("tied_relu", 0.125), ("gated_untied", 1)):
        norms = tiny.tensors(flavour)
        conversion = conversions[flavour]
        for name, side, factor in (("dec", "decoder", scale), ("enc", "encoder", 1)):
            np.testing.assert_array_equal(
                conversion.values(f"{name}.output_norm.weight"),
                norms[f"{side}.final_layer_norm.weight"] * np.float32(factor),
            )


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_q_k_v_follow_each_other_without_a_gap(
    conversions: dict[str, Conversion], flavour: str
) -> None:
    """A reader can then use them as one matrix without a copy."""
    tensors = conversions[flavour].file.tensors
    names = list(tensors)
    assert names == [tensor.entry.name for tensor in conversions[flavour].written.tensors]
    queries = [index for index, name in enumerate(names) if name.endswith("_q.weight")]
    assert queries
    for index in queries:
        q, k, v = names[index : index + 3]
        assert (k, v) == (q.replace("_q.", "_k."), q.replace("_q.", "_v."))
        for before, after in ((q, k), (k, v)):
            size = 4 * math.prod(tensors[before].shape)
            assert tensors[after].offset == tensors[before].offset + size


def test_metadata_describes_the_model(conversions: dict[str, Conversion]) -> None:
    """These are the keys that llama.cpp reads; all numbers of this flavour differ."""
    unequal = conversions["unequal"]
    for key, value in {
        "general.architecture": "t5",
        "t5.context_length": 512,
        "t5.embedding_length": 64,
        "t5.feed_forward_length": 128,
        "t5.block_count": 3,
        "t5.decoder_block_count": 1,
        "t5.attention.head_count": 6,
        "t5.attention.key_length": 16,
        "t5.attention.value_length": 16,
        "t5.attention.layer_norm_epsilon": pytest.approx(1e-6),
        "t5.attention.layer_norm_rms_epsilon": pytest.approx(1e-6),
        "t5.attention.relative_buckets_count": 32,
        "t5.decoder_start_token_id": 0,
        "general.file_type": 0,
        "general.quantization_version": 2,
    }.items():
        assert unequal.metadata(key) == value, key


def test_metadata_describes_the_vocabulary(tied: Conversion) -> None:
    tokens = tied.metadata("tokenizer.ggml.tokens")
    types = tied.metadata("tokenizer.ggml.token_type")
    assert isinstance(tokens, list)
    assert isinstance(types, np.ndarray)
    assert len(tokens) == len(types) == 320
    assert tokens[:3] + tokens[299:301] == ["<pad>", "</s>", "<unk>", "<extra_id_0>", "[PAD300]"]
    assert types[:3].tolist() == [TokenType.CONTROL, TokenType.CONTROL, TokenType.UNKNOWN]
    for key, value in {
        "model": "t5",
        "pre": "default",
        "padding_token_id": 0,
        "eos_token_id": 1,
        "unknown_token_id": 2,
        "add_bos_token": False,
        "add_eos_token": True,
        "add_space_prefix": True,
        "remove_extra_whitespaces": True,
    }.items():
        assert tied.metadata(f"tokenizer.ggml.{key}") == value, key


def test_the_character_map_is_written_whole(tied: Conversion) -> None:
    """Without it the engine would not fold case and width as in training."""
    charsmap = read_proto(tied.directory / "spiece.model").normalizer_spec.precompiled_charsmap
    written = tied.metadata("tokenizer.ggml.precompiled_charsmap")
    assert isinstance(written, np.ndarray)
    assert len(charsmap) > 100_000
    assert written.tobytes() == charsmap


def test_metadata_describes_the_source_and_the_use(tied: Conversion) -> None:
    """These are t5serve's own keys, which the service reads."""
    sources = ("model.safetensors", "spiece.model")
    for key, value in {
        "general.name": "tiny",
        "general.license": "Apache-2.0",
        "t5serve.license": "Apache-2.0",
        "t5serve.vocab_size": 320,
        "t5serve.logits_calibrated": True,
        "t5serve.relative_attention_max_distance": 128,
        "t5serve.source.repo": "owner/tiny",
        "t5serve.source.revision": "abc123",
        "t5serve.source.files": list(sources),
        "t5serve.source.sha256": [
            hashlib.sha256((tied.directory / name).read_bytes()).hexdigest() for name in sources
        ],
        "t5serve.tasks": "reformulate,paraphrase",
        "t5serve.prefix.reformulate": "rewrite: ",
        "t5serve.prefix.paraphrase": "say it otherwise: ",
        "t5serve.generation.max_tokens": 24,
        "t5serve.generation.strategy": "sample",
        "t5serve.generation.temperature": 0.5,
    }.items():
        assert tied.metadata(key) == value, key
    assert tied.metadata("t5serve.activation.ffn_down_max") == pytest.approx(
        Converter(tied.directory, PROVENANCE, QUERIES).max_ffn_down_input
    )


@pytest.mark.parametrize(("rows", "padded"), [(1, 64), (64, 64), (65, 128), (32_100, 32_128)])
def test_rows_are_padded_to_a_multiple_of_64(rows: int, padded: int) -> None:
    """Repacked kernels of ggml crash on other numbers; a published model has 32,100 rows."""
    assert padded_rows(rows) == padded


def test_padding_rows_repeat_unk(tmp_path: Path) -> None:
    """Zeros would give logit 0, more than most real tokens have. The engine loads the file."""
    directory = tiny.build("gated_untied", tmp_path / "source")
    rows = 300
    tensors = tiny.tensors("gated_untied")
    for name in ("shared.weight", "lm_head.weight"):
        tensors[name] = tensors[name][:rows].copy()
    save_file(tensors, directory / "model.safetensors")
    config = tiny.FLAVOURS["gated_untied"] | {"vocab_size": rows}
    write_json(directory / "config.json", config)
    out = tmp_path / "out.gguf"
    written = Converter(directory, Provenance("x"), QUERIES).convert(out, "F32", progress=False)
    conversion = Conversion(directory, written, GGUFFile.open(out))
    assert conversion.metadata("t5serve.vocab_size") == rows
    for name, source in (
        ("token_embd.weight", "shared.weight"),
        ("output.weight", "lm_head.weight"),
    ):
        values = conversion.values(name)
        assert values.shape == (320, 64)
        np.testing.assert_array_equal(values[:rows], tensors[source])
        np.testing.assert_array_equal(values[rows:], np.repeat(tensors[source][[2]], 20, axis=0))


def test_unknown_metadata_is_not_written(tmp_path: Path, tied: Conversion) -> None:
    """An empty licence would read as a statement about it, an empty task as a real task."""
    path = tmp_path / "out.gguf"
    converter = Converter(tied.directory, Provenance("x"), QUERIES)
    planned = converter.plan("F32")
    write_file(
        path,
        converter.checkpoint,
        converter.vocabulary,
        planned,
        POLICIES["F32"],
        Provenance("x"),
        max_ffn_down_input=0.0,
        progress=False,
    )
    assert (
        not {
            "general.license",
            "t5serve.license",
            "t5serve.source.repo",
            "t5serve.source.revision",
            "t5serve.generation.max_tokens",
            "t5serve.tasks",
        }
        & GGUFFile.open(path).metadata.keys()
    )
