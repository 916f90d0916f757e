"""Parquet files, by pyarrow: the rows of a column, and the output."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from t5serve.commands.batch.rows import BadRow, Item, Position, Row, Shard, check_row
from t5serve.errors import StartupError

if TYPE_CHECKING:
    from pyarrow import parquet

READ_ROWS = 1024
GROUP_ROWS = 10_000  # of the output


class ParquetFile:
    """A column of queries, and perhaps one of ids.

    Args:
        path: the file.
        column: the column of the queries; None: `text` or `query`, or the only column.
        id_column: the column of the ids; None: `id`, if there is one.
        shard: the part to read.

    Raises:
        StartupError: the file can't be read, or has no such column.
    """

    def __init__(self, path: Path, column: str | None, id_column: str | None, shard: Shard) -> None:
        pa, parquet = _import()
        self._path = path
        try:
            file = parquet.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise StartupError(f"{path}: {error}") from error
        names = list(file.schema_arrow.names)
        self._column = _choose(path, names, column, ["text", "query"])
        self._id_column = id_column or ("id" if "id" in names else None)
        if self._id_column is not None:
            _choose(path, names, self._id_column, [])
        kind = file.schema_arrow.field(self._column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise StartupError(f"{path}: column {self._column} has {kind}, not strings")
        first, self._end = shard.bounds(file.metadata.num_rows)
        self.start = Position(first, first)
        self.total = self._end - first

    def read(self, position: Position) -> Iterator[Item]:
        """Yields the rows from a position on."""
        _, parquet = _import()
        columns = [self._column, *([self._id_column] if self._id_column else [])]
        file = parquet.ParquetFile(self._path)
        groups, skipped = _find_groups(file.metadata, position.offset)
        batches = file.iter_batches(READ_ROWS, groups, columns)
        rows = self._rows(batches, position.offset - skipped)
        for number, (row_id, text) in enumerate(rows, position.offset + 1):
            if number > self._end:
                return
            name = str(number) if row_id is None else str(row_id)
            row: Row | BadRow = BadRow(number, "malformed", "the query is null", name)
            if text is not None:
                row = check_row(Row(number, name, text))
            yield Item(row, Position(number, number))

    def cut(self, rows: int) -> list[Position]:
        """Returns where each part of so many rows begins."""
        return [Position(number, number) for number in range(self.start.number, self._end, rows)]

    def _rows(self, batches: Iterator[Any], skipped: int) -> Iterator[tuple[Any, str | None]]:
        """Yields the id and the text of each row after the first ones, which are skipped."""
        for whole in batches:
            batch = whole.slice(skipped)
            skipped = max(0, skipped - whole.num_rows)
            texts = batch.column(self._column).to_pylist()
            if self._id_column is None:
                yield from ((None, text) for text in texts)
            else:
                yield from zip(batch.column(self._id_column).to_pylist(), texts, strict=True)


def write_parquet(rows: Path, out: Path) -> None:
    """Writes rows of JSON, a line each, as a Parquet file."""
    pa, parquet = _import()
    text, real, whole = pa.string(), pa.float64(), pa.int32()
    reformulation = {"text": text, "score": real, "model_score": real, "rank": whole}
    reformulation |= {"tokens": whole, "source": text}
    fields = {"id": text, "original": text, "queries": pa.list_(text)}
    fields["reformulations"] = pa.list_(pa.struct(list(reformulation.items())))
    fields |= {"changed": pa.bool_(), "unchanged_reason": text}
    fields |= {"fallback": pa.bool_(), "fallback_reason": text}
    schema = pa.schema(list(fields.items()))
    with rows.open("rb") as lines, parquet.ParquetWriter(out, schema) as writer:
        while group := [msgspec.json.decode(line) for line in islice(lines, GROUP_ROWS)]:
            writer.write_table(pa.Table.from_pylist(group, schema))


def require_pyarrow() -> None:
    """Checks that Parquet files can be read and written.

    Raises:
        StartupError: pyarrow is not installed.
    """
    _import()


def _import() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise StartupError(
            "Parquet files need pyarrow; install t5serve with the extra `parquet`"
        ) from None
    return pa, parquet


def _find_groups(metadata: parquet.FileMetaData, offset: int) -> tuple[list[int], int]:
    """Returns the row groups from a row on, and how many rows come before them."""
    skipped = group = 0
    while group < metadata.num_row_groups:
        rows = metadata.row_group(group).num_rows
        if skipped + rows > offset:
            break
        skipped += rows
        group += 1
    return list(range(group, metadata.num_row_groups)), skipped


def _choose(path: Path, names: list[str], name: str | None, usual: list[str]) -> str:
    """Returns the column of this name, or by default a usual one or the only one."""
    candidates = [name] if name is not None else [*usual, *(names if len(names) == 1 else [])]
    found = next((candidate for candidate in candidates if candidate in names), None)
    if found is None:
        missing = name if name is not None else " or ".join(usual)
        raise StartupError(f"{path} has no column {missing}; its columns are: {', '.join(names)}")
    return found
