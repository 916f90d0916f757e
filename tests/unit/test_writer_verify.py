import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, TokenType
from safetensors.numpy import save_file
from sentencepiece import sentencepiece_model_pb2

import t5gguf.verify
import tiny
from t5gguf.checkpoint import Checkpoint
from t5gguf.convert import Converter, Written
from t5gguf.errors import ConversionError, VerificationError
from t5gguf.quantize import POLICIES
from t5gguf.verify import compare, verify
from t5gguf.writer import PlannedTensor, Provenance, padded_rows, write

QUERIES = ["how to cook rice", "best hiking boots for wide feet 2024"]
PROVENANCE = Provenance(
    name="tiny",
    repo="owner/tiny",
    revision="abc123",
    license="Apache-2.0",
    tasks={"reformulate": "rewrite: ", "paraphrase": "say it otherwise: "},
    max_tokens=24,
)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A flavour's checkpoint, the file made of it, and that file's contents."""

    directory: Path
    written: Written
    file: GGUFReader

    def values(self, name: str) -> tiny.Float32:
        """A tensor's values; these files hold F32 only."""
        (found,) = (tensor for tensor in self.file.tensors if tensor.name == name)
        return np.asarray(found.data, np.float32)

    def metadata(self, key: str) -> object:
        content: object = self.file.fields[key].contents()
        return content


def build(flavour: str, directory: Path) -> Path:
    """A flavour without character map: gguf's reader takes seconds over the map's bytes."""
    tiny.build(flavour, directory)
    path = directory / "spiece.model"
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(path.read_bytes())
    proto.normalizer_spec.ClearField("precompiled_charsmap")
    path.write_bytes(proto.SerializeToString())
    return directory


@pytest.fixture(scope="module")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Conversion]:
    """Every flavour converted and verified in the engine."""
    root = tmp_path_factory.mktemp("conversions")
    made = {}
    for flavour in tiny.FLAVOURS:
        directory = build(flavour, root / flavour)
        out = root / f"{flavour}.gguf"
        converter = Converter(directory, PROVENANCE, QUERIES)
        written = converter.convert(out, "F32", progress=False)
        made[flavour] = Conversion(directory, written, GGUFReader(out))
    return made


@pytest.fixture
def tied(conversions: dict[str, Conversion]) -> Conversion:
    return conversions["tied_relu"]


def write_by_hand(
    path: Path, directory: Path, file_type: str, *, without: str = ""
) -> list[PlannedTensor]:
    """Writes a file without verifying it, one tensor left out if named; returns the whole plan."""
    converter = Converter(directory, PROVENANCE, QUERIES)
    planned = converter.plan(file_type)
    write(
        path,
        converter.checkpoint,
        converter.vocabulary,
        [tensor for tensor in planned if tensor.entry.name != without],
        POLICIES[file_type],
        PROVENANCE,
        max_ffn_down_input=converter.max_ffn_down_input,
        progress=False,
    )
    return planned


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_every_flavour_is_written_and_verified(
    conversions: dict[str, Conversion], flavour: str
) -> None:
    """The engine's logits are the reference's, and the figures that say so are returned."""
    written = conversions[flavour].written
    assert 0 < written.figures.rms <= t5gguf.verify.BOUNDS["F32"]
    assert written.figures.rms <= written.figures.maximum
    assert written.figures.agreement == 1.0
    assert written.size == written.path.stat().st_size


def test_f32_values_are_the_checkpoints(tied: Conversion) -> None:
    """All tensors but the rescaled norm are bit for bit those of the source."""
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
        found = conversions[flavour]
        for name, side, factor in (("dec", "decoder", scale), ("enc", "encoder", 1)):
            np.testing.assert_array_equal(
                found.values(f"{name}.output_norm.weight"),
                norms[f"{side}.final_layer_norm.weight"] * np.float32(factor),
            )


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_q_k_v_follow_each_other_without_a_gap(
    conversions: dict[str, Conversion], flavour: str
) -> None:
    """A reader can then take them as one matrix without a copy."""
    tensors = conversions[flavour].file.tensors
    assert [t.name for t in tensors] == [t.entry.name for t in conversions[flavour].written.tensors]
    queries = [index for index, tensor in enumerate(tensors) if tensor.name.endswith("_q.weight")]
    assert queries
    for index in queries:
        q, k, v = tensors[index : index + 3]
        assert (k.name, v.name) == (q.name.replace("_q.", "_k."), q.name.replace("_q.", "_v."))
        assert k.data_offset == q.data_offset + q.n_bytes
        assert v.data_offset == k.data_offset + k.n_bytes


def test_metadata_describes_the_model(conversions: dict[str, Conversion]) -> None:
    """The keys that llama.cpp reads, on the flavour whose numbers all differ."""
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
    assert isinstance(types, list)
    assert len(tokens) == len(types) == 320
    assert tokens[:3] + tokens[299:301] == ["<pad>", "</s>", "<unk>", "<extra_id_0>", "[PAD300]"]
    assert types[:3] == [TokenType.CONTROL, TokenType.CONTROL, TokenType.UNKNOWN]
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


def test_the_character_map_is_written_whole(tmp_path: Path) -> None:
    """Without it the engine would not fold case and width as the model was trained to."""
    path = tmp_path / "out.gguf"
    directory = tiny.build("tied_relu", tmp_path / "source")
    write_by_hand(path, directory, "Q4_0")
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString((directory / "spiece.model").read_bytes())
    charsmap = proto.normalizer_spec.precompiled_charsmap
    assert len(charsmap) > 100_000
    content = path.read_bytes()
    key = content.index(b"tokenizer.ggml.precompiled_charsmap")
    assert key < content.index(charsmap) < key + 64


def test_metadata_tells_the_source_and_the_use(tied: Conversion) -> None:
    """The keys of our own, which the service and a curious reader rely on."""
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
    }.items():
        assert tied.metadata(key) == value, key
    assert tied.metadata("t5serve.activation.ffn_down_max") == pytest.approx(
        Converter(tied.directory, PROVENANCE, QUERIES).max_ffn_down_input
    )


@pytest.mark.parametrize(("rows", "padded"), [(1, 64), (64, 64), (65, 128), (32_100, 32_128)])
def test_rows_are_padded_to_a_multiple_of_64(rows: int, padded: int) -> None:
    """Repacked kernels of ggml crash on other numbers of rows; 32,100 is a published one."""
    assert padded_rows(rows) == padded


def test_padding_rows_repeat_unk(tmp_path: Path) -> None:
    """Zeros would give logit 0, more than most real tokens have; the engine takes the file."""
    directory = build("gated_untied", tmp_path / "source")
    rows = 300
    tensors = tiny.tensors("gated_untied")
    for name in ("shared.weight", "lm_head.weight"):
        tensors[name] = tensors[name][:rows].copy()
    save_file(tensors, directory / "model.safetensors")
    config = tiny.FLAVOURS["gated_untied"] | {"vocab_size": rows}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    out = tmp_path / "out.gguf"
    written = Converter(directory, Provenance("x"), QUERIES).convert(out, "F32", progress=False)
    found = Conversion(directory, written, GGUFReader(out))
    assert found.metadata("t5serve.vocab_size") == rows
    for name, source in (
        ("token_embd.weight", "shared.weight"),
        ("output.weight", "lm_head.weight"),
    ):
        values = found.values(name)
        assert values.shape == (320, 64)
        np.testing.assert_array_equal(values[:rows], tensors[source])
        np.testing.assert_array_equal(values[rows:], np.repeat(tensors[source][[2]], 20, axis=0))


def test_what_is_not_known_is_not_written(tmp_path: Path, tied: Conversion) -> None:
    """An empty licence would read as a statement about the licence."""
    path = tmp_path / "out.gguf"
    converter = Converter(tied.directory, Provenance("x"), QUERIES)
    planned = converter.plan("F32")
    write(
        path,
        converter.checkpoint,
        converter.vocabulary,
        planned,
        POLICIES["F32"],
        Provenance("x"),
        max_ffn_down_input=0.0,
        progress=False,
    )
    fields = GGUFReader(path).fields
    assert not {
        "general.license",
        "t5serve.license",
        "t5serve.source.repo",
        "t5serve.source.revision",
        "t5serve.generation.max_tokens",
    } & set(fields)
    assert fields["t5serve.tasks"].contents() == "reformulate"


def test_a_file_is_made_of_its_source_alone(tmp_path: Path, tied: Conversion) -> None:
    """Neither time, nor path, nor the order of processes shows in the bytes."""
    again = tmp_path / "deeper" / "again.gguf"
    Converter(tied.directory, PROVENANCE, QUERIES).convert(again, "F32", progress=False)
    assert again.read_bytes() == tied.written.path.read_bytes()
    for name in ("one", "other"):
        write_by_hand(tmp_path / name, tied.directory, "Q4_0")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_an_existing_file_is_not_overwritten(tmp_path: Path, tied: Conversion) -> None:
    out = tmp_path / "out.gguf"
    out.write_bytes(b"precious")
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(ConversionError, match="exists; --force overwrites it"):
        converter.convert(out, "F32", progress=False)
    assert out.read_bytes() == b"precious"
    converter.convert(out, "F32", force=True, progress=False)
    assert out.read_bytes() == tied.written.path.read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_that_fails_verification_leaves_the_old_one(
    tmp_path: Path, tied: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overwriting must not destroy a good file for a bad one, nor leave the bad one about."""
    monkeypatch.setitem(t5gguf.verify.BOUNDS, "F32", -1.0)
    out = tmp_path / "out.gguf"
    out.write_bytes(b"precious")
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(VerificationError, match=r"1 fault\(s\)\n  logits are off by"):
        converter.convert(out, "F32", force=True, progress=False)
    assert out.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [out]


def test_a_full_disk_is_noticed_before_writing(
    tmp_path: Path, tied: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(ConversionError, match=r"has 1,000,000 bytes free, [\d,]+ are needed"):
        converter.convert(tmp_path / "out.gguf", "F32", progress=False)
    assert not list(tmp_path.iterdir())


def test_an_unknown_type_is_refused(tmp_path: Path, tied: Conversion) -> None:
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(ConversionError, match="type 'Q3_K' is not one of F32, F16"):
        converter.convert(tmp_path / "out.gguf", "Q3_K", progress=False)


def test_verification_lists_every_tensor_that_is_wrong(tmp_path: Path, tied: Conversion) -> None:
    """One missing, one not finite, one of another type, one that nobody planned."""
    path = tmp_path / "bad.gguf"
    planned = write_by_hand(path, tied.directory, "F32", without="enc.blk.1.ffn_up.weight")
    for tensor in GGUFReader(path, "r+").tensors:
        if tensor.name == "dec.blk.0.attn_o.weight":
            tensor.data[3, 5] = np.nan
    changed = [
        PlannedTensor(tensor.entry, Type.F16, tensor.shape)
        if tensor.entry.name == "enc.blk.0.attn_q.weight"
        else tensor
        for tensor in planned
        if tensor.entry.name != "enc.output_norm.weight"
    ]
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(VerificationError) as error:
        verify(path, changed, converter.vocabulary, [], "F32")
    assert str(error.value).splitlines() == [
        f"{path}: 4 fault(s)",
        "  dec.blk.0.attn_o.weight has NaN or infinite values",
        "  enc.blk.0.attn_q.weight is F32 (64, 64), planned F16 (64, 64)",
        "  missing: enc.blk.1.ffn_up.weight",
        "  unexpected: enc.output_norm.weight",
    ]


def test_verification_finds_values_that_are_finite_and_wrong(
    tmp_path: Path, tied: Conversion
) -> None:
    """Only the engine's logits can tell that a tensor is another one's."""
    path = tmp_path / "bad.gguf"
    planned = write_by_hand(path, tied.directory, "F32")
    for tensor in GGUFReader(path, "r+").tensors:
        if tensor.name == "dec.blk.1.cross_attn_v.weight":
            tensor.data[:] = tensor.data[::-1].copy()
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(VerificationError, match="logits are off by"):
        verify(path, planned, converter.vocabulary, converter._samples, "F32")


def test_verification_finds_tokens_that_differ(tied: Conversion) -> None:
    """A vocabulary that ends texts with another id is not the one in the file."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    other = dataclasses.replace(converter.vocabulary, eos_token_id=3)
    path, planned = tied.written.path, tied.written.tensors
    with pytest.raises(VerificationError) as error:
        verify(path, planned, other, converter._samples, "F32")
    assert str(error.value).splitlines() == [
        f"{path}: 2 fault(s)",
        *(f"  tokens differ from SentencePiece's for 'rewrite: {query}'" for query in QUERIES),
    ]


def test_figures_are_relative_to_the_references_deviation() -> None:
    """Of four logits with deviation 2 one is off by 4: rms 2 / 2, maximum 4 / 2."""
    reference = np.array([[2, -2], [-2, 2]], np.float32)
    figures = compare(reference, np.array([[-2, -2], [-2, 2]], np.float32))
    assert (figures.rms, figures.maximum, figures.agreement) == (1.0, 2.0, 1.0)
    assert compare(reference, -reference).agreement == 0.0
    assert compare(reference, reference).rms == 0.0
