import dataclasses
import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf import TokenType
from safetensors.numpy import save_file

from support import tiny
from support.samples import T5_BASE, read_proto, tokenizer_json, write_json
from t5engine.reader import GGUFFile, StoredTensor
from t5gguf.checkpoint import Checkpoint
from t5gguf.convert import Converter, Written
from t5gguf.errors import ConversionError, VerificationError
from t5gguf.native import quantize_rows
from t5gguf.quantize import POLICIES, tensor_type
from t5gguf.reference import Reference
from t5gguf.tensor_map import Role, entries
from t5gguf.verify import BOUNDS, GATED_BOUND, ROW_BOUNDS, _check_values, bound, compare, verify
from t5gguf.writer import PlannedTensor, Provenance, padded_rows, write

QUERIES = ["how to cook rice", "best hiking boots for wide feet 2024"]
PROVENANCE = Provenance(
    name="tiny",
    repo="owner/tiny",
    revision="abc123",
    license="Apache-2.0",
    tasks={"reformulate": "rewrite: ", "paraphrase": "say it otherwise: "},
    generation={"max_tokens": 24, "strategy": "sample", "temperature": 0.5},
)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A flavour's checkpoint, the file made of it, and that file's contents."""

    directory: Path
    written: Written
    file: GGUFFile

    def values(self, name: str) -> tiny.Float32:
        """A tensor's values, of its own shape; these files hold F32 only."""
        stored = self.file.tensors[name]
        return stored.read_rows().reshape(stored.shape)

    def metadata(self, key: str) -> object:
        value: object = self.file.metadata[key]
        return value


@pytest.fixture(scope="module")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Conversion]:
    """Every flavour converted and verified in the engine."""
    root = tmp_path_factory.mktemp("conversions")
    made = {}
    for flavour in tiny.FLAVOURS:
        directory = tiny.build(flavour, root / flavour)
        out = root / f"{flavour}.gguf"
        converter = Converter(directory, PROVENANCE, QUERIES)
        written = converter.convert(out, "F32", progress=False)
        made[flavour] = Conversion(directory, written, GGUFFile.open(out))
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


def overwrite(path: Path, name: str, rows: slice, values: tiny.Float32) -> None:
    """Puts other values into some rows of an F32 tensor of a file."""
    stored = GGUFFile.open(path).tensors[name]
    np.memmap(path, "<f4", "r+", stored.offset, stored.shape)[rows] = values


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_every_flavour_is_written_and_verified(
    conversions: dict[str, Conversion], flavour: str
) -> None:
    """The engine's logits are the reference's, and the figures that say so are returned."""
    written = conversions[flavour].written
    gated = flavour in {"gated_untied", "umt5"}
    assert 0 < written.figures.rms <= (GATED_BOUND if gated else BOUNDS[Type.F32])
    assert written.figures.rms <= written.figures.maximum
    assert written.figures.agreement == 1.0
    assert written.size == written.path.stat().st_size


# Rows of 64 values are too narrow for the K types: of Q5_K_M and Q4_K_M come Q5_1 and Q5_0.
@pytest.mark.parametrize("file_type", ["F16", "BF16", "Q5_K_M", "Q4_K_M", "Q4_0"])
def test_other_types_are_written_and_verified(
    conversions: dict[str, Conversion], tmp_path: Path, file_type: str
) -> None:
    """Neither the rows that a quantiser writes nor their logits are taken for wrong ones."""
    converter = Converter(conversions["gated_untied"].directory, PROVENANCE, QUERIES)
    written = converter.convert(tmp_path / "out.gguf", file_type, progress=False)
    assert written.figures.rms <= bound(written.tensors, gated=True)


@pytest.mark.parametrize("file_type", ["Q5_K_M", "Q4_K_M", "Q4_0"])
def test_calibration_lowers_the_error_of_other_queries(
    conversions: dict[str, Conversion], tmp_path: Path, file_type: str
) -> None:
    """And the engine takes the file."""
    directory = conversions["gated_untied"].directory
    rms = []
    for calibration in ([], tiny.QUERIES.read_text(encoding="utf-8").splitlines()[:50]):
        converter = Converter(directory, PROVENANCE, QUERIES, calibration)
        out = tmp_path / f"{len(calibration)}.gguf"
        rms.append(converter.convert(out, file_type, progress=False).figures.rms)
    assert rms[1] < rms[0]


def test_calibration_is_done_once_with_each_task_in_turn(
    tied: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queries reach the encoder as they would in the service."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES, ["a b", "c d", "e f"])
    met: list[list[int]] = []
    encode = Reference.encode

    def listen(reference: Reference, ids: list[int]) -> tiny.Float32:
        met.append(ids)
        return encode(reference, ids)

    monkeypatch.setattr(Reference, "encode", listen)
    moments = converter.moments(progress=False)
    assert converter.moments(progress=False) is moments
    texts = ["rewrite: a b", "say it otherwise: c d", "rewrite: e f"]
    assert met == [converter.vocabulary.encode(text) for text in texts]
    assert moments.queries == 3


@pytest.mark.parametrize("kind", ROW_BOUNDS, ids=lambda kind: kind.name)
def test_quantised_rows_are_told_from_wrong_ones(tmp_path: Path, kind: Type) -> None:
    """Of every type: rows of noise, a row of zeros, one with an outlier; then two that change."""
    values = np.random.RandomState(0).standard_normal((16, 512)).astype(np.float32)
    values[3] = 0
    values[5, 7] = 30
    path = tmp_path / "rows"
    data = values if kind is Type.F32 else quantize_rows(values, kind)
    path.write_bytes(data.tobytes())
    stored = StoredTensor(path, values.shape, kind, 0)
    assert _check_values("x", stored, values) == []
    values[[8, 9]] = values[[9, 8]]
    assert _check_values("x", stored, values) == ["x: 2 of 16 rows are not the source's, first 8"]


def test_the_bound_is_that_of_the_coarsest_type(tied: Conversion) -> None:
    """A gated model's F32 file is off by ggml's table of GELU values, a coarser one by its type."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    for embedding, expected in ((Type.Q8_0, 5e-2), (Type.F32, 5e-2), (Type.Q4_0, 0.5)):
        planned = converter.plan("Q8_0", {Role.EMBEDDING: embedding})
        assert bound(planned, gated=False) == bound(planned, gated=True) == expected
    assert bound(converter.plan("F32"), gated=False) == 1e-5
    assert bound(converter.plan("F32"), gated=True) == 1e-3


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("columns", [768, 96, 40])
def test_every_type_that_is_given_has_bounds(policy: str, columns: int) -> None:
    config = dataclasses.replace(T5_BASE, d_model=columns)
    given = {
        tensor_type(entry, POLICIES[policy], config, max_ffn_down_input=largest)
        for entry in entries(config)
        for largest in (1.0, 1e6)
    }
    assert given <= BOUNDS.keys()
    assert given <= ROW_BOUNDS.keys()


def test_a_coarser_embedding_is_verified_by_its_own_bound(tmp_path: Path, tied: Conversion) -> None:
    """The file's type once gave the bound, so that this file failed."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    out = tmp_path / "out.gguf"
    written = converter.convert(out, "Q8_0", types={Role.EMBEDDING: Type.Q4_0}, progress=False)
    assert BOUNDS[Type.Q8_0] < written.figures.rms <= BOUNDS[Type.Q4_0]


def test_a_tied_model_with_its_head_alone_is_the_same_model(
    tmp_path: Path, tied: Conversion
) -> None:
    """Files keep one name of tensors that share memory, and it may be `lm_head.weight`."""
    directory = tiny.build("tied_relu", tmp_path / "source")
    tensors = tiny.tensors("tied_relu")
    tensors["lm_head.weight"] = tensors.pop("shared.weight")
    save_file(tensors, directory / "model.safetensors")
    out = tmp_path / "out.gguf"
    written = Converter(directory, PROVENANCE, QUERIES).convert(out, "F32", progress=False)
    found = Conversion(directory, written, GGUFFile.open(out))
    assert "output.weight" not in found.file.tensors
    np.testing.assert_array_equal(
        found.values("token_embd.weight"), tied.values("token_embd.weight")
    )


@pytest.mark.parametrize("source", ["spiece.model", "tokenizer.json"])
def test_the_engine_reads_sentinels_as_the_source_does(
    tmp_path: Path, tied: Conversion, source: str
) -> None:
    """Verification compares the engine's ids of each query with the vocabulary's."""
    directory = shutil.copytree(tied.directory, tmp_path / "source")
    if source == "tokenizer.json":
        spiece = directory / "spiece.model"
        write_json(directory / source, tokenizer_json(spiece, sentinels=100))
        spiece.unlink()
    queries = ["<extra_id_0>", "best <extra_id_1> for<extra_id_99>you", "<extra_id_100> <extra_id"]
    converter = Converter(directory, PROVENANCE, queries)
    assert converter.vocabulary.source.name == source
    assert 299 in converter._samples[0].encoder_ids
    converter.convert(tmp_path / "out.gguf", "F32", progress=False)


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


def test_a_head_of_its_own_is_one_whichever_transformers_saved_it(
    tmp_path: Path, conversions: dict[str, Conversion]
) -> None:
    """Transformers 5 calls every head tied; the file is the one that version 4 leads to."""
    directory = tiny.build("gated_untied", tmp_path / "checkpoint")
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    of_5 = {"tie_word_embeddings": True, "scale_decoder_outputs": False}
    write_json(directory / "config.json", config | of_5 | {"transformers_version": "5.23.0"})
    target = tmp_path / "new.gguf"
    Converter(directory, PROVENANCE, QUERIES).convert(target, "F32", progress=False)
    old, new = conversions["gated_untied"].file.tensors, GGUFFile.open(target).tensors
    assert "output.weight" in new
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        np.testing.assert_array_equal(tensor.read_rows(), new[name].read_rows(), err_msg=name)


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_q_k_v_follow_each_other_without_a_gap(
    conversions: dict[str, Conversion], flavour: str
) -> None:
    """A reader can then take them as one matrix without a copy."""
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
    """Without it the engine would not fold case and width as the model was trained to."""
    charsmap = read_proto(tied.directory / "spiece.model").normalizer_spec.precompiled_charsmap
    written = tied.metadata("tokenizer.ggml.precompiled_charsmap")
    assert isinstance(written, np.ndarray)
    assert len(charsmap) > 100_000
    assert written.tobytes() == charsmap


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
        "t5serve.generation.strategy": "sample",
        "t5serve.generation.temperature": 0.5,
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
    found = Conversion(directory, written, GGUFFile.open(out))
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
    """An empty licence would read as a statement about the licence, a task as one that it has."""
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
    monkeypatch.setitem(BOUNDS, Type.F32, -1.0)
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
    with pytest.raises(ConversionError, match="type 'X' is not one of F32, F16"):
        converter.plan("X")


def test_a_directory_is_not_overwritten(tmp_path: Path, tied: Conversion) -> None:
    """Even with `force` the answer is one line, not an error at the renaming."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(ConversionError, match="is a directory"):
        converter.convert(tmp_path, "F32", force=True, progress=False)


def test_verification_lists_every_tensor_that_is_wrong(tmp_path: Path, tied: Conversion) -> None:
    """One missing, one not finite, one of another type, one that nobody planned."""
    path = tmp_path / "bad.gguf"
    planned = write_by_hand(path, tied.directory, "F32", without="enc.blk.1.ffn_up.weight")
    overwrite(path, "dec.blk.0.attn_o.weight", slice(3, 4), np.full(64, np.nan, np.float32))
    changed = [
        PlannedTensor(tensor.entry, Type.F16, tensor.shape)
        if tensor.entry.name == "enc.blk.0.attn_q.weight"
        else tensor
        for tensor in planned
        if tensor.entry.name != "enc.output_norm.weight"
    ]
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(VerificationError) as error:
        verify(path, converter.checkpoint, converter.vocabulary, changed, converter._samples)
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
    """A tensor in reverse order has the right type, shape and range, and no row in its place."""
    path = tmp_path / "bad.gguf"
    planned = write_by_hand(path, tied.directory, "F32")
    name = "dec.blk.1.cross_attn_v.weight"
    overwrite(path, name, slice(None), tied.values(name)[::-1])
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(VerificationError) as error:
        verify(path, converter.checkpoint, converter.vocabulary, planned, converter._samples)
    assert str(error.value).splitlines()[1:] == [
        f"  {name}: 64 of 64 rows are not the source's, first 0"
    ]


def test_verification_reads_rows_that_no_sample_uses(
    tmp_path: Path, conversions: dict[str, Conversion]
) -> None:
    """The samples' logits can't tell that a rare token or a far position is wrong."""
    source = conversions["gated_untied"]
    path = tmp_path / "bad.gguf"
    planned = write_by_hand(path, source.directory, "F32")
    embedding = source.values("token_embd.weight")
    overwrite(path, "token_embd.weight", slice(250, 253), embedding[3:6])
    overwrite(path, "dec.blk.0.attn_rel_b.weight", slice(31, 32), np.zeros(4, np.float32))
    converter = Converter(source.directory, PROVENANCE, QUERIES)
    used = {*np.concatenate([one.encoder_ids + one.decoder_ids for one in converter._samples])}
    assert not used & {250, 251, 252}
    with pytest.raises(VerificationError) as error:
        verify(path, converter.checkpoint, converter.vocabulary, planned, converter._samples)
    assert str(error.value).splitlines() == [
        f"{path}: 2 fault(s)",
        "  dec.blk.0.attn_rel_b.weight: 1 of 32 rows are not the source's, first 31",
        "  token_embd.weight: 3 of 320 rows are not the source's, first 250",
    ]


def test_verification_finds_metadata_that_is_wrong(tmp_path: Path, tied: Conversion) -> None:
    """Every tensor is right: only the engine's logits can tell that the norms' epsilon is not."""
    path = tmp_path / "bad.gguf"
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    config = dataclasses.replace(converter.checkpoint.config, layer_norm_epsilon=0.1)
    planned = converter.plan("F32")
    write(
        path,
        dataclasses.replace(converter.checkpoint, config=config),
        converter.vocabulary,
        planned,
        POLICIES["F32"],
        PROVENANCE,
        max_ffn_down_input=0.0,
        progress=False,
    )
    with pytest.raises(
        VerificationError, match=r"1 fault\(s\)\n  logits are off by .*, at most 1e-05 is expected"
    ):
        verify(path, converter.checkpoint, converter.vocabulary, planned, converter._samples)


def test_verification_finds_a_vocabulary_that_differs(tied: Conversion) -> None:
    """Of a token that is in no sample, too."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    tokens = list(converter.vocabulary.tokens)
    tokens[310] = "<other>"
    other = dataclasses.replace(converter.vocabulary, tokens=tuple(tokens))
    path, planned = tied.written.path, tied.written.tensors
    with pytest.raises(VerificationError) as error:
        verify(path, converter.checkpoint, other, planned, converter._samples)
    assert str(error.value).splitlines()[1:] == [
        "  the vocabulary's tokens are not those of the source"
    ]


def test_verification_refuses_a_file_that_ends_in_its_header(
    tmp_path: Path, tied: Conversion
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(tied.written.path.read_bytes()[:1000])
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    planned = tied.written.tensors
    with pytest.raises(VerificationError, match="is not a whole GGUF file"):
        verify(path, converter.checkpoint, converter.vocabulary, planned, converter._samples)


def test_verification_finds_tokens_that_differ(tied: Conversion) -> None:
    """A vocabulary that ends texts with another id is not the one in the file."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    other = dataclasses.replace(converter.vocabulary, eos_token_id=3)
    path, planned = tied.written.path, tied.written.tensors
    with pytest.raises(VerificationError) as error:
        verify(path, converter.checkpoint, other, planned, converter._samples)
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
