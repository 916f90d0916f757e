from pathlib import Path

import numpy as np
import pytest

from support import tiny
from t5gguf import moments
from t5gguf.checkpoint import Checkpoint
from t5gguf.errors import ConversionError
from t5gguf.moments import Moments, measure, shared
from t5gguf.reference import Reference
from t5gguf.tensor_map import Role, match

MATRICES = {Role.ATTENTION, Role.FFN, Role.FFN_DOWN}
QUERIES = [[5, 9, 17, 1], [33, 2, 60, 61, 62, 1]]


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    root = tmp_path_factory.mktemp("references")
    return {
        name: Reference(Checkpoint.open(tiny.build(name, root / name))) for name in tiny.FLAVOURS
    }


def observed(reference: Reference, queries: list[list[int]]) -> dict[str, tiny.Float32]:
    """All inputs of every matrix, by its name."""
    met: dict[str, list[tiny.Float32]] = {}

    def observe(name: str, inputs: tiny.Float32) -> None:
        met.setdefault(name, []).append(inputs.copy())

    reference.observe = observe
    for ids in queries:
        reference.greedy(ids, moments.TOKENS, [])
    reference.observe = None
    return {name: np.concatenate(inputs) for name, inputs in met.items()}


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_every_matrix_is_observed(
    references: dict[str, Reference], flavour: str, tmp_path: Path
) -> None:
    """The head among them, under the embedding's name where it is the embedding."""
    reference = references[flavour]
    entries = match(Checkpoint.open(tiny.build(flavour, tmp_path)))
    wanted = {entry.source for entry in entries if entry.role in MATRICES}
    head = Role.EMBEDDING if reference.config.tie_word_embeddings else Role.HEAD
    wanted |= {entry.source for entry in entries if entry.role is head}
    found = observed(reference, QUERIES)
    assert found.keys() == wanted
    widths = {entry.source: entry.shape[-1] for entry in entries}
    assert all(inputs.shape[1] == widths[name] for name, inputs in found.items())


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_matrices_that_share_moments_have_the_same_inputs(
    references: dict[str, Reference], flavour: str
) -> None:
    found = observed(references[flavour], QUERIES)
    for name, inputs in found.items():
        np.testing.assert_array_equal(inputs, found[shared(name)], err_msg=name)
    config = references[flavour].config
    apart = {shared(name) for name in found}
    # qkv, o, up, down of each encoder layer; q and o of the cross-attention besides in the
    # decoder's, whose k and v share one over all layers; the head.
    assert len(apart) == 4 * config.num_layers + 6 * config.num_decoder_layers + 2


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_sums_are_those_of_all_inputs(
    references: dict[str, Reference], flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they were multiplied together or some at a time."""
    reference = references[flavour]
    found = observed(reference, QUERIES)
    monkeypatch.setattr(moments, "WAITING", 3)
    measured = measure(reference, QUERIES, [], progress=False)
    assert measured.queries == len(QUERIES)
    assert reference.observe is None
    for name, inputs in found.items():
        assert name in measured
        sums, count = measured.sums(name)
        assert count == len(inputs)
        wanted = inputs.astype(np.float64).T @ inputs
        np.testing.assert_allclose(sums, wanted, rtol=0, atol=1e-5 * float(np.abs(wanted).max()))
    monkeypatch.setattr(moments, "WIDEST", reference.config.d_model)
    narrow = measure(reference, QUERIES, [], progress=False)
    assert {name for name in found if name not in narrow} == {
        name for name, inputs in found.items() if inputs.shape[1] > reference.config.d_model
    }


def test_an_embedding_that_is_not_the_head_has_none(references: dict[str, Reference]) -> None:
    """Its rows are looked up, not multiplied."""
    assert "shared.weight" not in measure(references["gated_untied"], QUERIES, [], progress=False)
    assert "shared.weight" in measure(references["tied_relu"], QUERIES, [], progress=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_inputs_that_are_not_finite_are_told(bad: float) -> None:
    """Or whose squares are not; the message says what to do without them."""
    found = Moments()
    found.add("x", np.array([[1, bad]], np.float32))
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(ConversionError, match=r"inputs of x are not finite .* without calibration"),
    ):
        found.sums("x")
