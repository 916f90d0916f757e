from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader

from support import tiny
from t5gguf import imatrix
from t5gguf.checkpoint import Checkpoint
from t5gguf.reference import Reference
from t5gguf.second_moments import measure_moments
from t5gguf.tensor_map import Role, match_tensors

MATRICES = {Role.ATTENTION, Role.FFN, Role.FFN_DOWN}


@pytest.mark.parametrize("flavour", ["tied_relu", "gated_untied"])
def test_the_file_is_as_llama_cpps_quantiser_reads_it(flavour: str, tmp_path: Path) -> None:
    """The file has a pair of F32 tensors per matrix, by its name in the GGUF file, and three keys.

    Sums over counts must be mean squares: the quantiser divides one by the other.
    """
    checkpoint = Checkpoint.open(tiny.build(flavour, tmp_path))
    entries = match_tensors(checkpoint)
    moments = measure_moments(Reference(checkpoint), [[5, 9, 1], [7, 1]], [], progress=False)
    path = tmp_path / "imatrix.gguf"
    imatrix.write(path, entries, moments)
    reader = GGUFReader(path)
    keys = {key: field.contents() for key, field in reader.fields.items()}
    assert keys["general.type"] == "imatrix"
    assert keys["imatrix.chunk_count"] == 2
    assert keys["imatrix.chunk_size"] > 0
    assert keys["imatrix.datasets"] == ["t5gguf"]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    head = Role.EMBEDDING if checkpoint.config.tie_word_embeddings else Role.HEAD
    matrices = [entry for entry in entries if entry.role in MATRICES | {head}]
    parts = ("in_sum2", "counts")
    assert tensors.keys() == {f"{entry.name}.{part}" for entry in matrices for part in parts}
    for entry in matrices:
        squares, counts = (tensors[f"{entry.name}.{part}"] for part in parts)
        assert squares.tensor_type == counts.tensor_type == Type.F32
        assert squares.shape.tolist() == [entry.shape[1], 1]  # ggml's order: columns first
        assert counts.shape.tolist() == [1, 1]
        total, count = moments.get_sum(entry.source)
        assert counts.data.item() == count > 0
        np.testing.assert_array_equal(squares.data[0], np.diag(total))
