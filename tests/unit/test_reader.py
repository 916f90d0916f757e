import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType, GGUFWriter, quants
from hypothesis import given, settings
from hypothesis import strategies as st

from support import tiny
from t5engine.reader import GGUFFile, ReadError
from t5gguf.ggml_quantize import quantize_rows

TENSOR_TYPES = [Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q6_K]


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[Any]:
    low = -(2 ** (bits - 1)) if signed else 0
    return st.integers(low, low + 2**bits - 1)


SCALARS: dict[GGUFValueType, st.SearchStrategy[Any]] = {
    GGUFValueType.UINT8: integers(8, signed=False),
    GGUFValueType.INT8: integers(8, signed=True),
    GGUFValueType.UINT16: integers(16, signed=False),
    GGUFValueType.INT16: integers(16, signed=True),
    GGUFValueType.UINT32: integers(32, signed=False),
    GGUFValueType.INT32: integers(32, signed=True),
    GGUFValueType.UINT64: integers(64, signed=False),
    GGUFValueType.INT64: integers(64, signed=True),
    GGUFValueType.FLOAT32: st.floats(width=32, allow_nan=False),
    GGUFValueType.FLOAT64: st.floats(allow_nan=False),
    GGUFValueType.BOOL: st.booleans(),
    GGUFValueType.STRING: st.text(),
}
# A type, and a value of it or a list of such values.
VALUES = st.sampled_from(list(SCALARS)).flatmap(
    lambda value_type: st.tuples(
        st.just(value_type),
        SCALARS[value_type] | st.lists(SCALARS[value_type], min_size=1, max_size=5),
    )
)


def write(path: Path, fill: Callable[[GGUFWriter], None]) -> Path:
    """Writes a file with PyPI's `gguf`, the other implementation of the format."""
    writer = GGUFWriter(path, "t5")
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def noise(rows: int, columns: int) -> tiny.Float32:
    return np.random.RandomState(rows).standard_normal((rows, columns)).astype(np.float32)


def add(writer: GGUFWriter, name: str, values: tiny.Float32, tensor_type: Type) -> None:
    data = quantize_rows(values, tensor_type).reshape(len(values), -1)
    if tensor_type is Type.F32:  # the writer takes no bytes for F32
        writer.add_tensor(name, values)
    else:
        writer.add_tensor(name, data, raw_dtype=tensor_type)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path for one file after another."""
    return tmp_path_factory.mktemp("reader") / "x.gguf"


@settings(deadline=None)
@given(pairs=st.dictionaries(st.text(min_size=1), VALUES, max_size=8))
def test_metadata_round_trips(place: Path, pairs: dict[str, tuple[GGUFValueType, Any]]) -> None:
    """Values of every type, single and in arrays, are read as gguf-py writes them."""
    pairs.pop("general.alignment", None)
    pairs.pop("general.architecture", None)

    def fill(writer: GGUFWriter) -> None:
        for key, (value_type, value) in pairs.items():
            if isinstance(value, list):
                writer.add_key_value(key, value, GGUFValueType.ARRAY, sub_type=value_type)
            else:
                writer.add_key_value(key, value, value_type)

    file = GGUFFile.open(write(place, fill))
    assert file.metadata.pop("general.architecture") == "t5"
    assert list(file.metadata) == list(pairs)
    for key, (_, value) in pairs.items():
        result = file.metadata[key]
        assert (list(result) if isinstance(value, list) else result) == value
    assert not file.tensors


def test_arrays_of_arrays_are_lists(tmp_path: Path) -> None:
    path = write(tmp_path / "x", lambda writer: writer.add_array("a", [[1, 2], [3]]))
    first, second = GGUFFile.open(path).metadata["a"]
    assert (list(first), list(second)) == ([1, 2], [3])


def test_a_string_that_is_not_utf8_does_not_stop_reading(tmp_path: Path) -> None:
    """Tokens may be single bytes, which are not UTF-8."""
    key = struct.pack("<Q1sI", 1, b"a", 8)
    path = tmp_path / "x"
    path.write_bytes(
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + key + struct.pack("<Q1s", 1, b"\xff")
    )
    assert GGUFFile.open(path).metadata == {"a": "\ufffd"}


@pytest.mark.parametrize("alignment", [None, 8, 256])
def test_tensors_match_gguf_py(tmp_path: Path, alignment: int | None) -> None:
    """All rows and selected rows of each type, with sizes that need padding between tensors."""
    sources = {
        tensor_type.name: noise(3 + index, 256) for index, tensor_type in enumerate(TENSOR_TYPES)
    }

    def fill(writer: GGUFWriter) -> None:
        if alignment:
            writer.add_custom_alignment(alignment)
        for name, values in sources.items():
            add(writer, name, values, Type[name])

    tensors = GGUFFile.open(write(tmp_path / "x.gguf", fill)).tensors
    assert list(tensors) == list(sources)
    for name, values in sources.items():
        tensor_type, stored = Type[name], tensors[name]
        data = quantize_rows(values, tensor_type).reshape(len(values), -1)
        expected = quants.dequantize(data, tensor_type)
        assert (stored.shape, stored.tensor_type) == (values.shape, tensor_type)
        assert stored.read_rows().dtype == np.float32
        np.testing.assert_array_equal(stored.read_rows(), expected)
        np.testing.assert_array_equal(stored.read_rows(np.array([2, 0, 2])), expected[[2, 0, 2]])
        assert (stored.offset % (alignment or 32)) == 0


def test_shapes_are_in_numpy_order(tmp_path: Path) -> None:
    """GGUF stores the innermost first. A vector is one row; outer dimensions are flattened."""
    vector, cube = noise(1, 40)[0], noise(6, 32).reshape(2, 3, 32)

    def fill(writer: GGUFWriter) -> None:
        writer.add_tensor("vector", vector)
        writer.add_tensor("cube", cube)

    tensors = GGUFFile.open(write(tmp_path / "x.gguf", fill)).tensors
    assert (tensors["vector"].shape, tensors["cube"].shape) == ((40,), (2, 3, 32))
    np.testing.assert_array_equal(tensors["vector"].read_rows(), vector[None])
    np.testing.assert_array_equal(tensors["cube"].read_rows(), cube.reshape(6, 32))


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A header with values and tensors of several types, without tensor data."""
    path = tmp_path_factory.mktemp("header") / "x.gguf"
    writer = GGUFWriter(path, "t5")
    writer.add_array("strings", ["a", "bc", ""])
    writer.add_array("numbers", [1.5, 2.5])
    writer.add_array("nested", [[1], [2, 3]])
    writer.add_uint64("number", 2**40)
    writer.add_bool("flag", val=True)
    writer.add_custom_alignment(64)
    add(writer, "first", noise(2, 256), Type.Q6_K)
    add(writer, "second", noise(2, 32), Type.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return path.read_bytes()


def test_a_truncated_header_is_refused(place: Path, header: bytes) -> None:
    """A download may break off anywhere in the header."""
    place.write_bytes(header)
    assert list(GGUFFile.open(place).tensors) == ["first", "second"]
    for cut in range(len(header)):
        place.write_bytes(header[:cut])
        with pytest.raises(ReadError, match="is not a whole GGUF file"):
            GGUFFile.open(place)


@pytest.mark.parametrize(
    ("offset", "code", "value"),
    [
        (0, "<4s", b"GGML"),
        (0, "<4s", b"FUGG"),
        (4, "<I", 0),
        (4, "<I", 1),
        (8, "<Q", 2**63),
        (16, "<Q", 2**63),
        (24, "<Q", 2**63),
    ],
    ids=["magic", "byte order", "version 0", "version 1", "tensors", "pairs", "string"],
)
def test_an_invalid_header_is_refused(
    place: Path, header: bytes, offset: int, code: str, value: bytes | int
) -> None:
    """Wrong magic, byte order, version (1 has 32-bit counts) or impossible sizes are refused."""
    changed = bytearray(header)
    struct.pack_into(code, changed, offset, value)
    place.write_bytes(changed)
    with pytest.raises(ReadError, match="is not a whole GGUF file"):
        GGUFFile.open(place)


@pytest.mark.parametrize(
    "body",
    [struct.pack("<I", 13), struct.pack("<IIQ", 9, 13, 1), struct.pack("<IIQ", 9, 10, 2**62)],
    ids=["scalar", "array", "size"],
)
def test_values_of_unknown_types_are_refused(place: Path, body: bytes) -> None:
    """The size of such a value is unknown, so nothing after it can be read."""
    head = struct.pack("<4sIQQQ1s", b"GGUF", 3, 0, 1, 1, b"a")
    place.write_bytes(head + body + bytes(64))
    with pytest.raises(ReadError, match="is not a whole GGUF file"):
        GGUFFile.open(place)


def test_a_tensor_of_an_unknown_type_does_not_stop_reading(place: Path) -> None:
    """The header can be read; the tensor's rows can't."""
    info = struct.pack("<Q1sIQIQ", 1, b"t", 1, 32, 10_000, 0)
    place.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + info + bytes(256))
    stored = GGUFFile.open(place).tensors["t"]
    assert (stored.tensor_type, stored.shape) == (10_000, (32,))
    with pytest.raises(ValueError, match="10000"):
        stored.read_rows()
