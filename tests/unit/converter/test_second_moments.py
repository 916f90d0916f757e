from pathlib import Path

import numpy as np
import pytest

from support import tiny
from t5gguf import second_moments
from t5gguf.checkpoint import Checkpoint
from t5gguf.errors import ConversionError
from t5gguf.reference import Reference
from t5gguf.second_moments import SecondMoments, find_representative, measure_moments
from t5gguf.tensor_map import Role, match_tensors

MATRICES = {Role.ATTENTION, Role.FFN, Role.FFN_DOWN}
QUERIES = [[5, 9, 17, 1], [33, 2, 60, 61, 62, 1]]


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    root = tmp_path_factory.mktemp("references")
    return {
        name: Reference(Checkpoint.open(tiny.build(name, root / name))) for name in tiny.FLAVOURS
    }


def observe_inputs(reference: Reference, queries: list[list[int]]) -> dict[str, tiny.Float32]:
    """Returns all inputs of each matrix, by its name."""
    batches: dict[str, list[tiny.Float32]] = {}

    def observe(name: str, inputs: tiny.Float32) -> None:
        batches.setdefault(name, []).append(inputs.copy())

    reference.observer = observe
    for ids in queries:
        reference.decode_greedily(ids, second_moments.DECODER_STEPS, [])
    reference.observer = None
    return {name: np.concatenate(inputs) for name, inputs in batches.items()}


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_every_matrix_is_observed(
    references: dict[str, Reference], flavour: str, tmp_path: Path
) -> None:
    """This includes the head; a tied head has the embedding's name."""
    reference = references[flavour]
    entries = match_tensors(Checkpoint.open(tiny.build(flavour, tmp_path)))
    expected = {entry.source for entry in entries if entry.role in MATRICES}
    head = Role.EMBEDDING if reference.config.tie_word_embeddings else Role.HEAD
    expected |= {entry.source for entry in entries if entry.role is head}
    inputs_by_matrix = observe_inputs(reference, QUERIES)
    assert inputs_by_matrix.keys() == expected
    widths = {entry.source: entry.shape[-1] for entry in entries}
    assert all(inputs.shape[1] == widths[name] for name, inputs in inputs_by_matrix.items())


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_matrices_that_share_moments_have_the_same_inputs(
    references: dict[str, Reference], flavour: str
) -> None:
    inputs_by_matrix = observe_inputs(references[flavour], QUERIES)
    for name, inputs in inputs_by_matrix.items():
        np.testing.assert_array_equal(
            inputs, inputs_by_matrix[find_representative(name)], err_msg=name
        )
    config = references[flavour].config
    representatives = {find_representative(name) for name in inputs_by_matrix}
    # qkv, o, up, down of each encoder layer; q and o of the cross-attention besides in the
    # decoder's, whose k and v share one over all layers; the head.
    assert len(representatives) == 4 * config.num_layers + 6 * config.num_decoder_layers + 2


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_sums_are_those_of_all_inputs(
    references: dict[str, Reference], flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The buffer's size does not change the sums."""
    reference = references[flavour]
    inputs_by_matrix = observe_inputs(reference, QUERIES)
    monkeypatch.setattr(second_moments, "BUFFERED_INPUTS", 3)
    measured = measure_moments(reference, QUERIES, [], progress=False)
    assert measured.queries == len(QUERIES)
    assert reference.observer is None
    for name, inputs in inputs_by_matrix.items():
        assert name in measured
        sums, count = measured.get_sum(name)
        assert count == len(inputs)
        expected = inputs.astype(np.float64).T @ inputs
        np.testing.assert_allclose(
            sums, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max())
        )
    monkeypatch.setattr(second_moments, "MAX_COLUMNS", reference.config.d_model)
    narrow = measure_moments(reference, QUERIES, [], progress=False)
    assert {name for name in inputs_by_matrix if name not in narrow} == {
        name
        for name, inputs in inputs_by_matrix.items()
        if inputs.shape[1] > reference.config.d_model
    }


def test_an_embedding_that_is_not_the_head_has_none(references: dict[str, Reference]) -> None:
    """Its rows are looked up, not multiplied."""
    assert "shared.weight" not in measure_moments(
        references["gated_untied"], QUERIES, [], progress=False
    )
    assert "shared.weight" in measure_moments(references["tied_relu"], QUERIES, [], progress=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_inputs_that_are_not_finite_are_refused(bad: float) -> None:
    """The same holds for their squares; the message names the alternative."""
    moments = SecondMoments()
    moments.add("x", np.array([[1, bad]], np.float32))
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(ConversionError, match=r"inputs of x are not finite .* without calibration"),
    ):
        moments.get_sum("x")
