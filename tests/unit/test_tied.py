from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter

from support import tiny
from t5engine.reader import ReadError
from t5engine.worker.tied import head_is_tied
from t5gguf.ggml_quantize import quantize_rows

ROWS, COLUMNS = 192, 256


def noise(seed: int, rows: int = ROWS, columns: int = COLUMNS) -> tiny.Float32:
    drawn = np.random.RandomState(seed).standard_normal((rows, columns))
    return drawn.astype(np.float32)


def write(path: Path, **tensors: tuple[tiny.Float32, Type]) -> Path:
    """Writes a file with only these tensors; `.weight` is appended to each name."""
    writer = GGUFWriter(path, "t5")
    for name, (values, tensor_type) in tensors.items():
        data = quantize_rows(values, tensor_type).reshape(len(values), -1)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_file_without_a_head_is_tied(tmp_path: Path) -> None:
    assert head_is_tied(write(tmp_path / "x.gguf", token_embd=(noise(0), Type.F16)))


@pytest.mark.parametrize("head", [Type.F16, Type.BF16, Type.Q8_0, Type.Q6_K, Type.Q4_0])
@pytest.mark.parametrize("embedding", [Type.F16, Type.Q4_K])
def test_a_copy_of_the_embedding_is_tied(tmp_path: Path, embedding: Type, head: Type) -> None:
    """llama.cpp's quantiser gives the two copies different types, so their values differ."""
    values = noise(0)
    path = write(tmp_path / "x.gguf", token_embd=(values, embedding), output=(values, head))
    assert head_is_tied(path)


@pytest.mark.parametrize("tensor_type", [Type.F16, Type.Q4_0])
def test_a_separate_head_is_not_tied(tmp_path: Path, tensor_type: Type) -> None:
    path = write(
        tmp_path / "x.gguf", token_embd=(noise(0), tensor_type), output=(noise(1), tensor_type)
    )
    assert not head_is_tied(path)


def test_a_head_that_shares_some_rows_is_not_tied(tmp_path: Path) -> None:
    """Padding rows are equal in both tensors, even if the other rows differ."""
    embedding, head = noise(0), noise(1)
    head[-48:] = embedding[-48:]
    path = write(tmp_path / "x.gguf", token_embd=(embedding, Type.F16), output=(head, Type.F16))
    assert not head_is_tied(path)


def test_rows_of_zeros_do_not_count(tmp_path: Path) -> None:
    """A zero row has no direction; dividing by its length would make the median NaN."""
    values = noise(0)
    values[::2] = 0
    path = write(tmp_path / "x.gguf", token_embd=(values, Type.F16), output=(values, Type.Q8_0))
    assert head_is_tied(path)


@pytest.mark.parametrize(("rows", "columns"), [(ROWS - 64, COLUMNS), (ROWS, 2 * COLUMNS)])
def test_a_head_of_another_shape_is_not_tied(tmp_path: Path, rows: int, columns: int) -> None:
    head = np.resize(noise(0), (rows, columns))
    path = write(tmp_path / "x.gguf", token_embd=(noise(0), Type.F16), output=(head, Type.F16))
    assert not head_is_tied(path)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"<html>not found</html>")
    with pytest.raises(ReadError, match=r"x\.gguf is not a whole GGUF file"):
        head_is_tied(tmp_path / "x.gguf")
