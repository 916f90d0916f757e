"""A GGUF file becomes the checkpoint that it was converted from."""

from pathlib import Path

import numpy as np
import pytest

from support import tiny
from t5engine.reader import GGUFFile
from t5gguf import __main__ as converter
from t5gguf.checkpoint import Checkpoint
from t5gguf.tensor_map import map_tensors
from t5train.restore import restore
from t5train.vocabulary import Vocabulary

INCLUDED = Path(__file__).parents[2] / "gguf" / "models" / "tiny-t5-Q8_0.gguf"
TEXTS = [
    "search: Who lived longer, Māori or Tesla?",
    "fix: 200 $ c++ ; naïve",
    "  two  blanks ",
    "日本",
]


def convert(checkpoint: Path, target: Path, file_type: str) -> Path:
    queries = target.with_suffix(".txt")
    queries.write_text("fix: one query\n", encoding="utf-8")  # verification takes time for each
    options = ("--out", target, "--type", file_type, "--quiet", "--queries", queries)
    assert converter.main(["convert", str(checkpoint), *map(str, options)]) == 0
    return target


@pytest.mark.parametrize("flavour", ["tied_relu", "gated_untied", "unequal"])
def test_a_file_without_rounding_gives_the_checkpoint_back(flavour: str, tmp_path: Path) -> None:
    """Weights, config and vocabulary, for a scaled head and for one of its own."""
    source = tiny.build(flavour, tmp_path / "source")
    (source / "tokenizer_config.json").write_text('{"extra_ids": 0}', encoding="utf-8")
    file = convert(source, tmp_path / "model.gguf", "F32")
    restored = Checkpoint.open(restore(file, tmp_path / "restored"))
    original = Checkpoint.open(source)
    assert restored.config == original.config
    for entry in map_tensors(original.config):
        expected = original.tensors[entry.source].load()
        np.testing.assert_allclose(restored.tensors[entry.source].load(), expected, rtol=1e-6)
    one, other = (
        Vocabulary(directory / "spiece.model") for directory in (source, restored.directory)
    )
    assert [one.encode(text) for text in TEXTS] == [other.encode(text) for text in TEXTS]


def test_the_included_model_comes_back_bit_by_bit(tmp_path: Path) -> None:
    """Who tunes it further begins with what is served: a conversion writes the same tensors."""
    restored = restore(INCLUDED, tmp_path / "restored")
    again = convert(restored, tmp_path / "again.gguf", "Q8_0")
    before, after = (GGUFFile.open(path) for path in (INCLUDED, again))
    assert before.tensors.keys() == after.tensors.keys()
    for name, tensor in before.tensors.items():
        assert np.array_equal(tensor.read_rows(), after.tensors[name].read_rows()), name
    vocabulary = ("tokens", "scores", "token_type", "precompiled_charsmap")
    for key in (f"tokenizer.ggml.{name}" for name in vocabulary):
        assert list(before.metadata[key]) == list(after.metadata[key]), key


def test_what_cannot_be_restored_is_refused(tmp_path: Path) -> None:
    umt5 = convert(tiny.build("umt5", tmp_path / "umt5"), tmp_path / "umt5.gguf", "F32")
    with pytest.raises(ValueError, match="UMT5"):
        restore(umt5, tmp_path / "out")
    sentinels = convert(tiny.build("tied_relu", tmp_path / "t5"), tmp_path / "t5.gguf", "F32")
    with pytest.raises(ValueError, match="train from the checkpoint"):
        restore(sentinels, tmp_path / "out")
    (tmp_path / "no.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"no\.gguf"):
        restore(tmp_path / "no.gguf", tmp_path / "out")
