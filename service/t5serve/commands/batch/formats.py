"""The output rows: the same whenever and wherever a query is reformulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from t5serve.commands.batch.rows import BadRow
from t5serve.errors import StartupError, UsageError
from t5serve.results import Result

FileFormat = Literal["jsonl", "tsv", "text", "parquet"]
OutputFormat = Literal["jsonl", "tsv", "parquet"]
RowShape = Literal["results", "predicted-queries", "anserini", "pyterrier"]
"""What a row has. results: all fields of the answer (TSV: the queries, a column each).
predicted-queries: `{"id", "predicted_queries"}`, as the expansions that castorini publishes and
docTTTTTquery's scripts read (TSV: the queries in one column). anserini: `{"id", "contents"}` with
the queries after the document, a JsonCollection (TSV: MS MARCO's collection). pyterrier: `{"docno",
"text", "querygen"}`, the columns of pyterrier_doc2query."""
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

    Args:
        output_format: the format of the file.
        shape: what a row has.

    Raises:
        UsageError: there is no such shape in that format.
    """

    def __init__(self, output_format: OutputFormat, shape: RowShape = "results") -> None:
        if shape != "results" and output_format == "parquet":
            raise UsageError(f"--format {shape} is for .jsonl and .tsv, not for Parquet")
        if shape == "pyterrier" and output_format == "tsv":
            raise UsageError("--format pyterrier is for .jsonl: querygen has a line per query")
        self._is_tsv = output_format == "tsv"
        self._shape = shape

    def head(self, row_id: str) -> bytes:
        """Returns the beginning of a row."""
        if self._is_tsv:
            return _cell(row_id)
        name = b"docno" if self._shape == "pyterrier" else b"id"
        return b'{"' + name + b'":' + msgspec.json.encode(row_id) + b","

    def body(self, result: Result) -> bytes:
        """Returns the remainder of a row, its end included."""
        if self._is_tsv:
            return b"".join(b"\t" + _cell(cell) for cell in self._cells(result)) + b"\n"
        return msgspec.json.encode(self._fields(result))[1:] + b"\n"

    def _cells(self, result: Result) -> list[str]:
        if self._shape == "results":
            return result.queries
        joined = " ".join(_predicted(result))
        return [joined if self._shape == "predicted-queries" else f"{result.original} {joined}"]

    def _fields(self, result: Result) -> dict[str, Any]:
        queries = _predicted(result)
        if self._shape == "predicted-queries":
            return {"predicted_queries": queries}
        if self._shape == "anserini":
            return {"contents": f"{result.original}\n{' '.join(queries)}"}
        if self._shape == "pyterrier":
            return {"text": result.original, "querygen": "\n".join(queries)}
        fields = msgspec.structs.asdict(result)
        del fields["id"], fields["cached"]
        return fields


def _predicted(result: Result) -> list[str]:
    """Returns the queries that the model wrote: a document is no query of its own."""
    return [one.text for one in result.reformulations if one.source == "model"]


def format_error(row: BadRow) -> bytes:
    """Returns the line of a bad row."""
    fields = {"line": row.number, "id": row.id, "code": row.code, "message": row.message}
    if row.id is None:
        del fields["id"]
    return msgspec.json.encode(fields) + b"\n"


def _cell(text: str) -> bytes:
    return " ".join(text.split()).encode()
