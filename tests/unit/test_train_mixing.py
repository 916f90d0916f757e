"""Weighted means of checkpoints."""

from pathlib import Path

import numpy as np
import pytest

from support import tiny
from t5gguf.checkpoint import Checkpoint
from t5train import mixing
from t5train.mixing import Part


def test_weights_are_mixed_by_their_shares(tmp_path: Path) -> None:
    one, two = (tiny.build("tied_relu", tmp_path / str(seed), seed=seed) for seed in (1, 2))
    mean = mixing.mix([Part(one, 0.25), Part(two, 0.75)])
    first, second = (Checkpoint.open(directory).tensors for directory in (one, two))
    assert mean.keys() == first.keys()
    for name, weight in mean.items():
        expected = 0.25 * first[name].load() + 0.75 * second[name].load()
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)
    mixing.copy_other_files(two, tmp_path)
    assert (tmp_path / "spiece.model").read_bytes() == (two / "spiece.model").read_bytes()
    assert not (tmp_path / mixing.WEIGHTS).exists()


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    one = tiny.build("tied_relu", tmp_path / "one")
    two = tiny.build("unequal", tmp_path / "two")
    with pytest.raises(ValueError, match="other tensors"):
        mixing.mix([Part(one, 0.5), Part(two, 0.5)])
    with pytest.raises(ValueError, match="add up to 1"):
        mixing.mix([Part(one, 0.5)])


def test_a_part_is_a_directory_and_a_share() -> None:
    assert mixing.parse_part("runs/a=b/checkpoint=0.5") == Part(Path("runs/a=b/checkpoint"), 0.5)
    with pytest.raises(ValueError, match="CHECKPOINT=SHARE"):
        mixing.parse_part("checkpoint")
