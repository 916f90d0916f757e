import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

from support import tiny
from support.conversions import PROVENANCE, QUERIES, Conversion, write_unverified
from support.samples import tokenizer_json, write_json
from t5engine.reader import GGUFFile
from t5gguf.convert import Converter
from t5gguf.errors import ConversionError, VerificationError
from t5gguf.reference import Reference
from t5gguf.tensor_map import Role
from t5gguf.verify import (
    GATED_LOGIT_BOUND,
    LOGIT_BOUNDS,
    select_logit_bound,
)


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_every_flavour_is_written_and_verified(
    conversions: dict[str, Conversion], flavour: str
) -> None:
    """The engine's logits match the reference's, and the comparison is returned."""
    written = conversions[flavour].written
    gated = flavour in {"gated_untied", "umt5"}
    assert 0 < written.comparison.rms <= (GATED_LOGIT_BOUND if gated else LOGIT_BOUNDS[Type.F32])
    assert written.comparison.rms <= written.comparison.maximum
    assert written.comparison.agreement == 1.0
    assert written.size == written.path.stat().st_size


@pytest.fixture(scope="module")
def calibrated(conversions: dict[str, Conversion]) -> Converter:
    """A converter that measures the 200 calibration queries once for all types."""
    return Converter(conversions["gated_untied"].directory, PROVENANCE, QUERIES)


# Rows of 64 values are too narrow for the K types: of Q5_K_M and Q4_K_M come Q5_1 and Q5_0.
@pytest.mark.slow
@pytest.mark.parametrize("file_type", ["F16", "BF16", "Q5_K_M", "Q4_K_M", "Q4_0"])
def test_other_types_are_written_and_verified(
    calibrated: Converter, tmp_path: Path, file_type: str
) -> None:
    """Verification accepts the rows that a quantiser writes, and their logits."""
    written = calibrated.convert(tmp_path / "out.gguf", file_type, progress=False)
    assert written.comparison.rms <= select_logit_bound(written.tensors, gated=True)


@pytest.fixture(scope="module")
def rounding(conversions: dict[str, Conversion]) -> Converter:
    """A converter without calibration."""
    return Converter(conversions["gated_untied"].directory, PROVENANCE, QUERIES, [])


@pytest.mark.slow
@pytest.mark.parametrize("file_type", ["Q5_K_M", "Q4_K_M", "Q4_0"])
def test_calibration_lowers_the_error_of_other_queries(
    rounding: Converter, calibrated: Converter, tmp_path: Path, file_type: str
) -> None:
    """The engine loads the calibrated file as well."""
    rounded, adapted = (
        converter.convert(tmp_path / name, file_type, progress=False).comparison.rms
        for name, converter in (("rounded.gguf", rounding), ("adapted.gguf", calibrated))
    )
    assert adapted < rounded


def test_calibration_is_done_once_with_each_task_in_turn(
    tied: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queries reach the encoder as they would in the service."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES, ["a b", "c d", "e f"])
    encoded: list[list[int]] = []
    encode = Reference.encode

    def record(reference: Reference, ids: list[int]) -> tiny.Float32:
        encoded.append(ids)
        return encode(reference, ids)

    monkeypatch.setattr(Reference, "encode", record)
    moments = converter.measure_moments(progress=False)
    assert converter.measure_moments(progress=False) is moments
    texts = ["rewrite: a b", "say it otherwise: c d", "rewrite: e f"]
    assert encoded == [converter.vocabulary.encode(text) for text in texts]
    assert moments.queries == 3


@pytest.mark.slow
def test_a_coarser_embedding_is_verified_by_its_own_bound(tmp_path: Path, tied: Conversion) -> None:
    """Regression: the file's type once gave the bound, so that this file failed."""
    calibration = tiny.QUERIES.read_text(encoding="utf-8").splitlines()[:8]
    converter = Converter(tied.directory, PROVENANCE, QUERIES, calibration)
    out = tmp_path / "out.gguf"
    written = converter.convert(out, "Q8_0", types={Role.EMBEDDING: Type.Q4_0}, progress=False)
    assert LOGIT_BOUNDS[Type.Q8_0] < written.comparison.rms <= LOGIT_BOUNDS[Type.Q4_0]


def test_a_tied_model_stored_under_the_heads_name_is_the_same_model(
    tmp_path: Path, tied: Conversion
) -> None:
    """A file keeps one name for tensors that share memory; that may be `lm_head.weight`."""
    directory = tiny.build("tied_relu", tmp_path / "source")
    tensors = tiny.tensors("tied_relu")
    tensors["lm_head.weight"] = tensors.pop("shared.weight")
    save_file(tensors, directory / "model.safetensors")
    out = tmp_path / "out.gguf"
    written = Converter(directory, PROVENANCE, QUERIES).convert(out, "F32", progress=False)
    conversion = Conversion(directory, written, GGUFFile.open(out))
    assert "output.weight" not in conversion.file.tensors
    np.testing.assert_array_equal(
        conversion.values("token_embd.weight"), tied.values("token_embd.weight")
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


def test_an_untied_head_stays_untied_whichever_transformers_saved_it(
    tmp_path: Path, conversions: dict[str, Conversion]
) -> None:
    """Transformers 5 calls every head tied; the file is the same as with version 4."""
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


@pytest.mark.slow
def test_a_file_is_made_of_its_source_alone(tmp_path: Path, tied: Conversion) -> None:
    """The bytes depend neither on time, nor on the path, nor on the order of processes."""
    again = tmp_path / "deeper" / "again.gguf"
    Converter(tied.directory, PROVENANCE, QUERIES).convert(again, "F32", progress=False)
    assert again.read_bytes() == tied.written.path.read_bytes()
    for name in ("first", "second"):
        write_unverified(tmp_path / name, tied.directory, "Q4_0")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


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


def test_two_processes_do_not_write_one_file(tmp_path: Path, tied: Conversion) -> None:
    """A conversion stops while another process writes the same file, and leaves its part alone."""
    out = tmp_path / "out.gguf"
    part = tmp_path / ".out.gguf.part"
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    hold = "import fcntl, sys; f = open(sys.argv[1], 'wb'); fcntl.flock(f, 2); f.write(b'half');"
    hold += "f.flush(); print('locked', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(part)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(ConversionError, match="another process is writing"):
            converter.convert(out, "F32", progress=False)
        assert part.read_bytes() == b"half"
    converter.convert(out, "F32", progress=False)  # a part that nobody writes is no obstacle
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_that_fails_verification_leaves_the_old_one(
    tmp_path: Path, tied: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad file must not replace a good one, and must not stay on disk."""
    monkeypatch.setitem(LOGIT_BOUNDS, Type.F32, -1.0)
    out = tmp_path / "out.gguf"
    out.write_bytes(b"precious")
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(VerificationError, match=r"1 fault\(s\)\n  the logit error is"):
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
    """Even with `force`, the error comes before writing, not when the file is renamed."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(ConversionError, match="is a directory"):
        converter.convert(tmp_path, "F32", force=True, progress=False)
