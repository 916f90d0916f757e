"""Weighted means of checkpoints; runs where the `train` extra is installed."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
safetensors = pytest.importorskip("safetensors.torch", reason="needs the train extra")

from t5train import mixing  # noqa: E402
from t5train.mixing import Part  # noqa: E402


def checkpoint(directory: Path, value: float, *, size: int = 2) -> Path:
    directory.mkdir()
    weights = {"shared.weight": torch.full((size,), value, dtype=torch.float16)}
    safetensors.save_file(weights, directory / mixing.WEIGHTS)
    (directory / "config.json").write_text(f'"{value}"', encoding="utf-8")
    return directory


def test_weights_are_mixed_by_their_shares(tmp_path: Path) -> None:
    one, two = checkpoint(tmp_path / "one", 1.0), checkpoint(tmp_path / "two", 3.0)
    weights = mixing.mix([Part(one, 0.25), Part(two, 0.75)])
    assert weights["shared.weight"].tolist() == [2.5, 2.5]
    assert weights["shared.weight"].dtype == torch.float32
    mixing.copy_other_files(two, one)
    assert (one / "config.json").read_text(encoding="utf-8") == '"3.0"'


def test_checkpoints_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    one, two = checkpoint(tmp_path / "one", 1.0), checkpoint(tmp_path / "two", 3.0, size=3)
    with pytest.raises(ValueError, match="other tensors"):
        mixing.mix([Part(one, 0.5), Part(two, 0.5)])
    with pytest.raises(ValueError, match="add up to 1"):
        mixing.mix([Part(one, 0.5)])


def test_a_part_is_a_directory_and_a_share() -> None:
    assert mixing.parse_part("runs/a=b/checkpoint=0.5") == Part(Path("runs/a=b/checkpoint"), 0.5)
    with pytest.raises(ValueError, match="CHECKPOINT=SHARE"):
        mixing.parse_part("checkpoint")
