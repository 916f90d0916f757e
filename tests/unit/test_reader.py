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

KINDS = [Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q6_K]


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
    lambda kind: st.tuples(
        st.just(kind), SCALARS[kind] | st.lists(SCALARS[kind], min_size=1, max_size=5)
    )
)


def write(path: Path, fill: Callable[[GGUFWriter], None]) -> Path:
    """A file by PyPI's `gguf`, the other implementation of the format."""
    writer = GGUFWriter(path, "t5")
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def noise(rows: int, columns: int) -> tiny.Float32:
    return np.random.RandomState(rows).standard_normal((rows, columns)).astype(np.float32)


def add(writer: GGUFWriter, name: str, values: tiny.Float32, kind: Type) -> None:
    data = quantize_rows(values, kind).reshape(len(values), -1)
    if kind is Type.F32:  # of this type the writer takes no bytes
        writer.add_tensor(name, values)
    else:
        writer.add_tensor(name, data, raw_dtype=kind)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path for one file after the other."""
    return tmp_path_factory.mktemp("reader") / "x.gguf"


@settings(deadline=None)
@given(pairs=st.dictionaries(st.text(min_size=1), VALUES, max_size=8))
def test_metadata_is_what_the_writer_was_told(
    place: Path, pairs: dict[str, tuple[GGUFValueType, Any]]
) -> None:
    """Every type there is, by itself and in arrays."""
    pairs.pop("general.alignment", None)
    pairs.pop("general.architecture", None)

    def fill(writer: GGUFWriter) -> None:
        for key, (kind, value) in pairs.items():
            if isinstance(value, list):
                writer.add_key_value(key, value, GGUFValueType.ARRAY, sub_type=kind)
            else:
                writer.add_key_value(key, value, kind)

    file = GGUFFile.open(write(place, fill))
    assert file.metadata.pop("general.architecture") == "t5"
    assert list(file.metadata) == list(pairs)
    for key, (_, value) in pairs.items():
        found = file.metadata[key]
        assert (list(found) if isinstance(value, list) else found) == value
    assert not file.tensors


def test_arrays_of_arrays_are_lists(tmp_path: Path) -> None:
    path = write(tmp_path / "x", lambda writer: writer.add_array("a", [[1, 2], [3]]))
    first, second = GGUFFile.open(path).metadata["a"]
    assert (list(first), list(second)) == ([1, 2], [3])


def test_a_string_that_is_no_utf8_does_not_stop_reading(tmp_path: Path) -> None:
    """Tokens may be single bytes."""
    key = struct.pack("<Q1sI", 1, b"a", 8)
    path = tmp_path / "x"
    path.write_bytes(
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + key + struct.pack("<Q1s", 1, b"\xff")
    )
    assert GGUFFile.open(path).metadata == {"a": "\ufffd"}


@pytest.mark.parametrize("alignment", [None, 8, 256])
def test_tensors_are_as_gguf_py_dequantises_them(tmp_path: Path, alignment: int | None) -> None:
    """Each type, with sizes that need padding between tensors; all rows, and some of them."""
    sources = {kind.name: noise(3 + index, 256) for index, kind in enumerate(KINDS)}

    def fill(writer: GGUFWriter) -> None:
        if alignment:
            writer.add_custom_alignment(alignment)
        for name, values in sources.items():
            add(writer, name, values, Type[name])

    tensors = GGUFFile.open(write(tmp_path / "x.gguf", fill)).tensors
    assert list(tensors) == list(sources)
    for name, values in sources.items():
        kind, stored = Type[name], tensors[name]
        data = quantize_rows(values, kind).reshape(len(values), -1)
        expected = quants.dequantize(data, kind)
        assert (stored.shape, stored.kind) == (values.shape, kind)
        assert stored.rows().dtype == np.float32
        np.testing.assert_array_equal(stored.rows(), expected)
        np.testing.assert_array_equal(stored.rows(np.array([2, 0, 2])), expected[[2, 0, 2]])
        assert (stored.offset % (alignment or 32)) == 0


def test_other_ranks_have_numpys_order_of_dimensions(tmp_path: Path) -> None:
    """GGUF stores the innermost first; a vector is one row, more dimensions are all rows."""
    vector, cube = noise(1, 40)[0], noise(6, 32).reshape(2, 3, 32)

    def fill(writer: GGUFWriter) -> None:
        writer.add_tensor("vector", vector)
        writer.add_tensor("cube", cube)

    tensors = GGUFFile.open(write(tmp_path / "x.gguf", fill)).tensors
    assert (tensors["vector"].shape, tensors["cube"].shape) == ((40,), (2, 3, 32))
    np.testing.assert_array_equal(tensors["vector"].rows(), vector[None])
    np.testing.assert_array_equal(tensors["cube"].rows(), cube.reshape(6, 32))


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A header with a bit of everything and nothing after it."""
    path = tmp_path_factory.mktemp("header") / "x.gguf"
    writer = GGUFWriter(path, "t5")
    writer.add_array("strings", ["a", "bc", ""])
    writer.add_array("numbers", [1.5, 2.5])
    writer.add_array("nested", [[1], [2, 3]])
    writer.add_uint64("number", 2**40)
    writer.add_bool("flag", val=True)
    writer.add_custom_alignment(64)
    add(writer, "one", noise(2, 256), Type.Q6_K)
    add(writer, "other", noise(2, 32), Type.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return path.read_bytes()


def test_a_header_that_ends_early_is_refused_wherever_it_ends(place: Path, header: bytes) -> None:
    """A download may break off anywhere."""
    place.write_bytes(header)
    assert list(GGUFFile.open(place).tensors) == ["one", "other"]
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
def test_a_header_of_another_kind_is_refused(
    place: Path, header: bytes, offset: int, code: str, value: bytes | int
) -> None:
    """Version 1 counts with 32 bits; sizes beyond any memory are not asked for."""
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
    """The size of such a value is not known, so that nothing after it can be read."""
    head = struct.pack("<4sIQQQ1s", b"GGUF", 3, 0, 1, 1, b"a")
    place.write_bytes(head + body + bytes(64))
    with pytest.raises(ReadError, match="is not a whole GGUF file"):
        GGUFFile.open(place)


def test_a_tensor_of_an_unknown_type_does_not_stop_reading(place: Path) -> None:
    """Its header can be read, its rows can't."""
    info = struct.pack("<Q1sIQIQ", 1, b"t", 1, 32, 10_000, 0)
    place.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + info + bytes(256))
    stored = GGUFFile.open(place).tensors["t"]
    assert (stored.kind, stored.shape) == (10_000, (32,))
    with pytest.raises(ValueError, match="10000"):
        stored.rows()
