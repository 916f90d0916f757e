import base64
import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import tiny
from t5engine.relative import relative_position_bucket
from t5gguf.checkpoint import Checkpoint
from t5gguf.reference import Reference, gelu_new

GOLDEN = Path(__file__).parents[2] / "golden" / "logits.json"
CASES = range(4)
SUPPRESSED = [0, 2, *range(tiny.PIECES, 320)]


@cache
def golden(flavour: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    flavours: dict[str, dict[str, Any]] = document["flavours"]
    return flavours[flavour]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    directory = tmp_path_factory.mktemp("checkpoints")
    return {name: Checkpoint.open(tiny.build(name, directory / name)) for name in tiny.FLAVOURS}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_logits_are_transformers_logits(
    checkpoints: dict[str, Checkpoint], flavour: str, case: int
) -> None:
    """Every logit is within 1e-4 of its case's standard deviation."""
    golden_case = golden(flavour)["cases"][case]
    expected = np.frombuffer(base64.b64decode(golden_case["logits"]), "<f4").reshape(
        golden_case["shape"]
    )
    logits = Reference(checkpoints[flavour]).compute_logits(
        golden_case["encoder_ids"], golden_case["decoder_ids"]
    )
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_greedy_tokens_are_transformers_tokens(
    checkpoints: dict[str, Checkpoint], flavour: str, case: int
) -> None:
    golden_case = golden(flavour)["cases"][case]
    tokens = Reference(checkpoints[flavour]).decode_greedily(
        golden_case["encoder_ids"], 12, SUPPRESSED
    )
    assert tokens == golden_case["greedy"]["ids"]


@pytest.mark.parametrize("flavour", tiny.FLAVOURS)
def test_the_largest_ffn_down_input_is_transformers(
    checkpoints: dict[str, Checkpoint], flavour: str
) -> None:
    """It decides whether F16 is safe, so every layer of both stacks must be observed."""
    reference = Reference(checkpoints[flavour])
    for case in golden(flavour)["cases"]:
        reference.compute_logits(case["encoder_ids"], case["decoder_ids"])
    assert reference.max_ffn_down_input == pytest.approx(
        golden(flavour)["max_ffn_down_input"], rel=1e-4
    )


def test_a_tied_embedding_may_be_stored_as_the_head_alone(
    checkpoints: dict[str, Checkpoint],
) -> None:
    """Regression: the reference once did not look for the embedding under the head's name."""
    whole = checkpoints["tied_relu"]
    tensors = dict(whole.tensors)
    tensors["lm_head.weight"] = tensors.pop("shared.weight")
    headed = dataclasses.replace(whole, tensors=tensors)
    np.testing.assert_array_equal(
        Reference(headed).compute_logits([5, 1], [0, 3]),
        Reference(whole).compute_logits([5, 1], [0, 3]),
    )


def test_greedy_ends_with_the_end_mark_and_never_emits_a_suppressed_token(
    checkpoints: dict[str, Checkpoint],
) -> None:
    """With all tokens but one suppressed, the path is known beforehand."""
    reference = Reference(checkpoints["tied_relu"])
    only_end = [token for token in range(320) if token != 1]
    only_seven = [token for token in range(320) if token != 7]
    assert reference.decode_greedily([5, 1], 4, only_end) == [1]
    assert reference.decode_greedily([5, 1], 4, only_seven) == [7, 7, 7, 7]


def test_a_step_sees_the_tokens_before_it_and_a_state_is_not_shared(
    checkpoints: dict[str, Checkpoint],
) -> None:
    """Two states over one encoder output, stepped in turns, do not mix."""
    reference = Reference(checkpoints["tied_relu"])
    encoded = reference.encode([5, 9, 1])
    alone = reference.compute_logits([5, 9, 1], [0, 3, 4])
    first, second = reference.start(encoded), reference.start(encoded)
    for index, token in enumerate([0, 3, 4]):
        np.testing.assert_array_equal(reference.step(first, token), alone[index])
        reference.step(second, 8)
    assert first.length == second.length == 3


# From transformers 4.56.2's `T5Attention._relative_position_bucket`. By the formula: of 16 buckets
# a direction 8 are exact and the other 8 are eighths of log(distance / 8) / log(128 / 8),
# so 16 is 8 + 2, 32 is 8 + 4, 64 is 8 + 6; a key after the query adds 16.
BIDIRECTIONAL = {
    0: 0, -1: 1, -7: 7, -8: 8, -11: 8, -12: 9, -15: 9, -16: 10, -31: 11, -32: 12, -63: 13, -64: 14,
    -90: 14, -91: 15, -127: 15, -128: 15, -1000: 15,
    1: 17, 7: 23, 8: 24, 11: 24, 12: 25, 16: 26, 32: 28, 64: 30, 90: 30, 91: 31, 127: 31, 128: 31,
    1000: 31,
}  # fmt: skip
# Causal: 16 exact, 16 up to 128, and keys after the query count as distance 0.
CAUSAL = {
    0: 0, -1: 1, -7: 7, -8: 8, -15: 15, -16: 16, -31: 21, -32: 21, -63: 26, -64: 26, -90: 29,
    -127: 31, -128: 31, -1000: 31, 1: 0, 8: 0, 127: 0, 1000: 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("bidirectional", "buckets"), [(True, BIDIRECTIONAL), (False, CAUSAL)], ids=["both", "causal"]
)
def test_position_buckets_are_those_of_transformers(
    buckets: dict[int, int], *, bidirectional: bool
) -> None:
    """Powers of two, where rounding decides, both signs, and beyond the maximum distance."""
    distance = np.array([list(buckets)], np.int64)
    bucket = relative_position_bucket(distance, 32, 128, bidirectional=bidirectional)
    assert bucket.shape == distance.shape
    assert dict(zip(distance[0].tolist(), bucket[0].tolist(), strict=True)) == buckets


def test_fewer_buckets() -> None:
    """With 8 buckets, 4 a direction: 2 exact, 2 logarithmic, halfway at sqrt(2 x 128) = 16."""
    distance = np.array([0, -1, -2, -15, -17, -128, 1, 2, 17], np.int64)
    bucket = relative_position_bucket(distance, 8, 128, bidirectional=True)
    assert bucket.tolist() == [0, 1, 2, 2, 3, 3, 5, 6, 7]


def test_gelu_new_is_the_tanh_approximation() -> None:
    """Values of transformers' NewGELUActivation; the exact GELU(1) would be 0.84134."""
    x = np.array([-3, -1, 0, 0.5, 1, 3], np.float32)
    expected = [-0.00363743, -0.15880799, 0, 0.345714, 0.841192, 2.99636267]
    assert gelu_new(x).dtype == np.float32
    np.testing.assert_allclose(gelu_new(x), expected, rtol=0, atol=1e-6)
