"""The output rows: the same whenever and wherever a query is reformulated."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import msgspec

from t5serve.commands.batch.rows import BadRow
from t5serve.errors import StartupError
from t5serve.results import Result

FileFormat = Literal["jsonl", "tsv", "text", "parquet"]
OutputFormat = Literal["jsonl", "tsv", "parquet"]
EXTENSIONS: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".tsv": "tsv",
    ".txt": "text",
}


def format_of(path: Path) -> FileFormat:
    """Returns the format that the end of a name says.

    Raises:
        StartupError: the name says none.
    """
    if path.suffix.lower() not in EXTENSIONS:
        raise StartupError(f"{path}: the name must end in one of {', '.join(EXTENSIONS)}")
    return EXTENSIONS[path.suffix.lower()]


def output_format_of(path: Path) -> OutputFormat:
    """Returns the format of an output file.

    Raises:
        StartupError: the name says none that can be written.
    """
    found = format_of(path)
    if found not in get_args(OutputFormat):
        raise StartupError(f"{path}: the name must end in .jsonl, .tsv or .parquet")
    return found  # type: ignore[return-value]


class RowFormat:
    """Writes rows, in two parts: the id, and what all rows of the same query have.

    Parquet is made of lines of JSON in the end: a Parquet file can't be continued.
    """

    def __init__(self, output_format: OutputFormat) -> None:
        self._is_tsv = output_format == "tsv"

    def head(self, row_id: str) -> bytes:
        """Returns the beginning of a row."""
        if self._is_tsv:
            return _cell(row_id)
        return b'{"id":' + msgspec.json.encode(row_id) + b","

    def body(self, result: Result) -> bytes:
        """Returns the remainder of a row, its end included."""
        if self._is_tsv:
            return b"".join(b"\t" + _cell(query) for query in result.queries) + b"\n"
        fields = msgspec.structs.asdict(result)
        del fields["id"], fields["cached"]
        return msgspec.json.encode(fields)[1:] + b"\n"


def format_error(row: BadRow) -> bytes:
    """Returns the line of a bad row."""
    fields = {"line": row.number, "id": row.id, "code": row.code, "message": row.message}
    if row.id is None:
        del fields["id"]
    return msgspec.json.encode(fields) + b"\n"


def _cell(text: str) -> bytes:
    return " ".join(text.split()).encode()
