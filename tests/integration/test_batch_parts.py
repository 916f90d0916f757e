"""The parts of a batch job on Ray, on disk: without Ray."""

from __future__ import annotations

import pickle
from itertools import islice
from pathlib import Path

import pytest

from t5serve.commands.batch.actor import decode_items, encode_items
from t5serve.commands.batch.journal import Paths
from t5serve.commands.batch.parquet import ParquetFile
from t5serve.commands.batch.parts import LEAST_ROWS, MOST_ROWS, Parts, cut
from t5serve.commands.batch.rows import MAX_LINE_BYTES, LineFile, Shard, Source
from t5serve.errors import StartupError

A_JOB, ANOTHER_JOB = '{"input": "a"}', '{"input": "b"}'


def write_lines(path: Path, count: int) -> Path:
    lines = [b'"a dog %d"' % number for number in range(count)]
    for number in range(0, count, 7):
        lines[number] = b'"caf\xe9"'
    if count:
        lines[count // 2] = b'"' + b"a" * (MAX_LINE_BYTES + 10) + b'"'
    path.write_bytes(b"\r\n".join(lines))
    return path


def write_parquet(path: Path, count: int) -> Path:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    texts = [None if number % 7 == 0 else f"a dog {number}" for number in range(count)]
    table = pa.table({"text": pa.array(texts, pa.string())})
    parquet.write_table(table, path, row_group_size=130)
    return path


def open_source(path: Path, shard: Shard) -> Source:
    if path.suffix == ".parquet":
        return ParquetFile(path, None, None, shard)
    return LineFile(path, "jsonl", shard)


@pytest.mark.parametrize("name", ["in.jsonl", "in.parquet"])
@pytest.mark.parametrize("count", [0, 1, LEAST_ROWS, LEAST_ROWS + 1, 10 * LEAST_ROWS, 777])
def test_parts_are_the_whole(tmp_path: Path, name: str, count: int) -> None:
    """The rows of all parts, one after another and sent to another process, are the input's."""
    write = write_parquet if name == "in.parquet" else write_lines
    path = write(tmp_path / name, count)
    for shard in (Shard(), Shard(1, 2), Shard(2, 2)):
        source: Source = pickle.loads(pickle.dumps(open_source(path, shard)))  # noqa: S301 - its own
        parts = cut(source)
        found = [
            item.row
            for part in parts
            for item in decode_items(encode_items(islice(source.read(part.start), part.rows)))
        ]
        assert found == [item.row for item in source.read(source.start)]
        assert [part.number for part in parts] == list(range(len(parts)))
        assert all(0 < part.rows <= MOST_ROWS for part in parts)


@pytest.fixture
def source(tmp_path: Path) -> LineFile:
    path = tmp_path / "in.jsonl"
    path.write_text('"a dog"\n' * (2 * LEAST_ROWS + 10))
    return LineFile(path, "jsonl", Shard())


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "out.jsonl")


def test_parts_are_joined_in_order(source: LineFile, paths: Paths) -> None:
    """Parts come in any order and more than once; a second object knows those that are missing."""
    with Parts(paths, A_JOB, source) as parts:
        assert [part.rows for part in parts.missing] == [LEAST_ROWS, LEAST_ROWS, 10]
        assert parts.write(2, b"c\n" * 10, b"", "m") == 10
        assert parts.write(2, b"d\n" * 10, b"", "m") == 0
        assert parts.write(0, b"a\n" * (LEAST_ROWS - 1), b"e\n", "m") == LEAST_ROWS
    (paths.parts / "00000001.rows.part").write_bytes(b"half a r")
    with Parts(paths, A_JOB, source) as parts:
        assert [part.number for part in parts.missing] == [1]
        parts.write(1, b"", b"f\n" * LEAST_ROWS, "m")
        assert parts.join() == LEAST_ROWS + 1
    assert paths.rows.read_bytes() == b"a\n" * (LEAST_ROWS - 1) + b"c\n" * 10
    assert paths.errors_part.read_bytes() == b"e\n" + b"f\n" * LEAST_ROWS


def test_rows_that_are_missing_are_noticed(source: LineFile, paths: Paths) -> None:
    """A part of another length is not written, and a file that was cut later is not published."""
    with Parts(paths, A_JOB, source) as parts:
        with pytest.raises(StartupError, match=f"part 0 has 1 of {LEAST_ROWS} rows"):
            parts.write(0, b"a\n", b"", "m")
        for part in parts.missing:
            parts.write(part.number, b"a\n" * part.rows, b"", "m")
        (paths.parts / "00000001.rows").write_bytes(b"a\n")
        with pytest.raises(
            StartupError,
            match=f"has {LEAST_ROWS + 11} of {2 * LEAST_ROWS + 10} rows; --force begins anew",
        ):
            parts.join()


def test_parts_of_another_job_are_not_mixed(source: LineFile, paths: Paths) -> None:
    """Another identity, another model and a second writer are refused."""
    with Parts(paths, A_JOB, source) as parts:
        parts.write(2, b"c\n" * 10, b"", "m")
        with pytest.raises(StartupError, match="another process seems to write"):
            Parts(paths, A_JOB, source)
    with pytest.raises(StartupError, match="with another input; --resume needs the same command"):
        Parts(paths, ANOTHER_JOB, source)
    with (
        Parts(paths, A_JOB, source) as parts,
        pytest.raises(StartupError, match="a node has the model other"),
    ):
        parts.write(0, b"a\n" * LEAST_ROWS, b"", "other")
