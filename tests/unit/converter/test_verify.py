import dataclasses
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from support.conversions import PROVENANCE, QUERIES, Conversion, overwrite_rows, write_unverified
from support.samples import T5_BASE
from t5engine.reader import StoredTensor
from t5gguf.convert import Converter
from t5gguf.errors import VerificationError
from t5gguf.ggml_quantize import quantize_rows
from t5gguf.quantize import POLICIES, select_tensor_type
from t5gguf.tensor_map import Role, map_tensors
from t5gguf.verify import (
    LOGIT_BOUNDS,
    ROW_BOUNDS,
    compare_logits,
    find_row_faults,
    list_probes,
    select_logit_bound,
    verify_file,
)
from t5gguf.writer import PlannedTensor, write_file


@pytest.mark.parametrize("tensor_type", ROW_BOUNDS, ids=lambda tensor_type: tensor_type.name)
def test_quantised_rows_are_distinguished_from_wrong_rows(
    tmp_path: Path, tensor_type: Type
) -> None:
    """Rows of noise, a row of zeros and a row with an outlier pass; two swapped rows do not."""
    values = np.random.RandomState(0).standard_normal((16, 512)).astype(np.float32)
    values[3] = 0
    values[5, 7] = 30
    path = tmp_path / "rows"
    data = values if tensor_type is Type.F32 else quantize_rows(values, tensor_type)
    path.write_bytes(data.tobytes())
    stored = StoredTensor(path, values.shape, tensor_type, 0)
    assert find_row_faults("x", stored, values) == []
    values[[8, 9]] = values[[9, 8]]
    assert find_row_faults("x", stored, values) == ["x: 2 of 16 rows are not the source's, first 8"]


def test_the_bound_is_that_of_the_coarsest_type(tied: Conversion) -> None:
    """The table of GELU values in ggml sets the bound of a gated F32 file."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    for embedding, expected in ((Type.Q8_0, 5e-2), (Type.F32, 5e-2), (Type.Q4_0, 0.5)):
        planned = converter.plan("Q8_0", {Role.EMBEDDING: embedding})
        assert (
            select_logit_bound(planned, gated=False)
            == select_logit_bound(planned, gated=True)
            == expected
        )
    assert select_logit_bound(converter.plan("F32"), gated=False) == 1e-5
    assert select_logit_bound(converter.plan("F32"), gated=True) == 1e-3


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("columns", [768, 96, 40])
def test_every_selected_type_has_bounds(policy: str, columns: int) -> None:
    config = dataclasses.replace(T5_BASE, d_model=columns)
    selected = {
        select_tensor_type(entry, POLICIES[policy], config, max_ffn_down_input=largest)
        for entry in map_tensors(config)
        for largest in (1.0, 1e6)
    }
    assert selected <= LOGIT_BOUNDS.keys()
    assert selected <= ROW_BOUNDS.keys()


def test_verification_lists_every_tensor_that_is_wrong(tmp_path: Path, tied: Conversion) -> None:
    """One tensor is missing, one not finite, one of another type, and one not planned."""
    path = tmp_path / "bad.gguf"
    planned = write_unverified(path, tied.directory, "F32", without="enc.blk.1.ffn_up.weight")
    overwrite_rows(path, "dec.blk.0.attn_o.weight", slice(3, 4), np.full(64, np.nan, np.float32))
    changed = [
        PlannedTensor(tensor.entry, Type.F16, tensor.shape)
        if tensor.entry.name == "enc.blk.0.attn_q.weight"
        else tensor
        for tensor in planned
        if tensor.entry.name != "enc.output_norm.weight"
    ]
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(VerificationError) as error:
        verify_file(path, converter.checkpoint, converter.vocabulary, changed, converter._samples)
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
    """A tensor with reversed rows has the right type, shape and range."""
    path = tmp_path / "bad.gguf"
    planned = write_unverified(path, tied.directory, "F32")
    name = "dec.blk.1.cross_attn_v.weight"
    overwrite_rows(path, name, slice(None), tied.values(name)[::-1])
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    with pytest.raises(VerificationError) as error:
        verify_file(path, converter.checkpoint, converter.vocabulary, planned, converter._samples)
    assert str(error.value).splitlines()[1:] == [
        f"  {name}: 64 of 64 rows are not the source's, first 0"
    ]


def test_verification_reads_rows_that_no_sample_uses(
    tmp_path: Path, conversions: dict[str, Conversion]
) -> None:
    """The samples' logits don't depend on a rare token or a far position."""
    source = conversions["gated_untied"]
    path = tmp_path / "bad.gguf"
    planned = write_unverified(path, source.directory, "F32")
    embedding = source.values("token_embd.weight")
    overwrite_rows(path, "token_embd.weight", slice(250, 253), embedding[3:6])
    overwrite_rows(path, "dec.blk.0.attn_rel_b.weight", slice(31, 32), np.zeros(4, np.float32))
    converter = Converter(source.directory, PROVENANCE, QUERIES)
    used = {
        *np.concatenate([sample.encoder_ids + sample.decoder_ids for sample in converter._samples])
    }
    assert not used & {250, 251, 252}
    with pytest.raises(VerificationError) as error:
        verify_file(path, converter.checkpoint, converter.vocabulary, planned, converter._samples)
    assert str(error.value).splitlines() == [
        f"{path}: 2 fault(s)",
        "  dec.blk.0.attn_rel_b.weight: 1 of 32 rows are not the source's, first 31",
        "  token_embd.weight: 3 of 320 rows are not the source's, first 250",
    ]


def test_verification_finds_metadata_that_is_wrong(tmp_path: Path, tied: Conversion) -> None:
    """Every tensor is right; only the engine's logits reveal the wrong epsilon of the norms."""
    path = tmp_path / "bad.gguf"
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    config = dataclasses.replace(converter.checkpoint.config, layer_norm_epsilon=0.1)
    planned = converter.plan("F32")
    write_file(
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
        VerificationError, match=r"1 fault\(s\)\n  the logit error is .* at most 1e-05 is allowed"
    ):
        verify_file(path, converter.checkpoint, converter.vocabulary, planned, converter._samples)


def test_verification_finds_a_vocabulary_that_differs(tied: Conversion) -> None:
    """The differing token is in no sample."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    tokens = list(converter.vocabulary.tokens)
    tokens[310] = "<other>"
    changed = dataclasses.replace(converter.vocabulary, tokens=tuple(tokens))
    path, planned = tied.written.path, tied.written.tensors
    with pytest.raises(VerificationError) as error:
        verify_file(path, converter.checkpoint, changed, planned, converter._samples)
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
        verify_file(path, converter.checkpoint, converter.vocabulary, planned, converter._samples)


def test_verification_finds_tokens_that_differ(tied: Conversion) -> None:
    """A vocabulary that ends texts with another id is not the one in the file."""
    converter = Converter(tied.directory, PROVENANCE, QUERIES)
    encode = converter.vocabulary.encode
    changed = dataclasses.replace(converter.vocabulary, _encode=lambda text: [*encode(text), 1])
    path, planned = tied.written.path, tied.written.tensors
    with pytest.raises(VerificationError) as error:
        verify_file(path, converter.checkpoint, changed, planned, converter._samples)
    texts = [*(f"rewrite: {query}" for query in QUERIES), *list_probes(converter.vocabulary)]
    assert str(error.value).splitlines()[1:] == [
        *(f"  tokens differ from SentencePiece's for {text!r}" for text in texts[:10]),
        f"  tokens differ for {len(texts) - 10} more texts",
    ]


def test_comparisons_are_relative_to_the_references_deviation() -> None:
    """One of four logits with deviation 2 is off by 4: rms 2 / 2, maximum 4 / 2."""
    reference = np.array([[2, -2], [-2, 2]], np.float32)
    figures = compare_logits(reference, np.array([[-2, -2], [-2, 2]], np.float32))
    assert (figures.rms, figures.maximum, figures.agreement) == (1.0, 2.0, 1.0)
    assert compare_logits(reference, -reference).agreement == 0.0
    assert compare_logits(reference, reference).rms == 0.0
