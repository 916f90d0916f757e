"""What a job has written, on disk, so that a killed job continues as if nothing had happened.

Rows and bad rows are appended to two files. Every now and then a transaction of a database records
how long both are, and where the input goes on. After a kill both files are cut to these lengths.
The database also has the place of each query's row, so that its duplicates are copies.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections import OrderedDict
from pathlib import Path

from t5serve.commands.batch.identity import describe_differences
from t5serve.commands.batch.rows import Position
from t5serve.errors import StartupError

SECONDS_BETWEEN_CHECKPOINTS = 2.0
BUFFER_BYTES = 1 << 20
RECENT_ROWS = 20_000
CACHE_KIB = 16_384  # of the database's pages

SCHEMA = """
CREATE TABLE job (identity TEXT, offset INTEGER, number INTEGER, rows_bytes INTEGER,
    errors_bytes INTEGER, bad INTEGER, is_complete INTEGER);
CREATE TABLE bodies (key BLOB PRIMARY KEY, offset INTEGER, length INTEGER) WITHOUT ROWID;
"""


class Paths:
    """The files of a job, beside its output."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.rows = out.with_name(f"{out.name}.part")
        self.errors = out.with_name(f"{out.name}.errors.jsonl")
        self.errors_part = out.with_name(f"{out.name}.errors.jsonl.part")
        self.journal = out.with_name(f"{out.name}.journal")
        self.parts = out.with_name(f"{out.name}.parts")  # of a job on Ray

    def remove_unfinished(self) -> None:
        """Removes what an unfinished job has left."""
        rollback = self.journal.with_name(f"{self.journal.name}-journal")
        for path in (self.rows, self.errors_part, self.journal, rollback):
            path.unlink(missing_ok=True)
        if self.parts.exists():
            shutil.rmtree(self.parts)


class Journal:
    """The rows that are written, and how far the job is.

    Args:
        paths: the files.
        identity: tells the job from another one: its input, options and model.
        start: the position before the first row.

    Attributes:
        position: after the last row that was written.
        bad: how many bad rows were written.

    Raises:
        StartupError: the files are another job's, or another process writes them.
    """

    def __init__(self, paths: Paths, identity: str, start: Position) -> None:
        self.position = start
        self.bad = 0
        self.is_complete = False
        self._paths = paths
        self._recent: OrderedDict[bytes, bytes] = OrderedDict()
        self._database = sqlite3.connect(paths.journal, isolation_level=None, timeout=1)
        try:
            lengths = self._open_database(identity)
            if not self.is_complete:  # else the files may have their names already
                self._rows = _AppendedFile(paths.rows, lengths[0])
                self._errors = _AppendedFile(paths.errors_part, lengths[1])
        except BaseException:
            self._database.close()
            raise
        self._checkpoint_at = time.monotonic() + SECONDS_BETWEEN_CHECKPOINTS

    def find(self, key: bytes) -> bytes | None:
        """Returns the body of the row of a query that was written; None if there is none."""
        body = self._recent.get(key)
        if body is not None:
            self._recent.move_to_end(key)
            return body
        place = self._database.execute(
            "SELECT offset, length FROM bodies WHERE key = ?", (key,)
        ).fetchone()
        if place is None:
            return None
        body = self._rows.read(*place)
        self._remember(key, body)
        return body

    def write_row(self, head: bytes, body: bytes, key: bytes | None) -> None:
        """Appends a row.

        Args:
            head: the part that is this row's own.
            body: the part that all rows of the same query have.
            key: of the query, at its first row; else None.
        """
        offset = self._rows.append(head + body)
        if key is not None:
            self._database.execute(
                "INSERT INTO bodies VALUES (?, ?, ?)", (key, offset + len(head), len(body))
            )
            self._remember(key, body)

    def write_error(self, line: bytes) -> None:
        """Appends a bad row."""
        self._errors.append(line)
        self.bad += 1

    def advance(self, position: Position) -> None:
        """Records that everything before a position is written; now and then on disk."""
        self.position = position
        if time.monotonic() >= self._checkpoint_at:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Puts everything on disk that is written so far."""
        self._record(is_complete=False)

    def complete(self) -> None:
        """Puts everything on disk. Nothing can be written any more."""
        self._record(is_complete=True)
        self._rows.close()
        self._errors.close()

    def _record(self, *, is_complete: bool) -> None:
        lengths = [file.sync() for file in (self._rows, self._errors)]
        self.is_complete = is_complete
        self._database.execute(
            "UPDATE job SET offset = ?, number = ?, rows_bytes = ?, errors_bytes = ?, bad = ?,"
            " is_complete = ?",
            (*self.position, *lengths, self.bad, is_complete),
        )
        self._database.execute("COMMIT")
        self._database.execute("BEGIN IMMEDIATE")
        self._checkpoint_at = time.monotonic() + SECONDS_BETWEEN_CHECKPOINTS

    def close(self) -> None:
        """Closes the database; what came after the last checkpoint is lost."""
        self._database.close()

    def _open_database(self, identity: str) -> tuple[int, int]:
        """Opens the database; returns how long the two files are at the last checkpoint."""
        database = self._database
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            database.execute("BEGIN IMMEDIATE")
            if not database.execute("SELECT name FROM sqlite_schema").fetchone():
                for statement in SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(
                    "INSERT INTO job VALUES (?, ?, ?, 0, 0, 0, 0)", (identity, *self.position)
                )
                database.execute("COMMIT")
                database.execute("BEGIN IMMEDIATE")
            found = database.execute("SELECT * FROM job").fetchone()
        except sqlite3.OperationalError as error:
            raise StartupError(
                f"{self._paths.journal}: {error}; another process seems to write {self._paths.out}"
            ) from error
        except sqlite3.DatabaseError as error:
            raise StartupError(f"{self._paths.journal}: {error}; --force begins anew") from error
        known, offset, number, rows_bytes, errors_bytes, self.bad, is_complete = found
        if known != identity:
            difference = describe_differences(known, identity)
            raise StartupError(f"{self._paths.journal} {difference}")
        self.position = Position(offset, number)
        self.is_complete = bool(is_complete)
        return rows_bytes, errors_bytes

    def _remember(self, key: bytes, body: bytes) -> None:
        self._recent[key] = body
        if len(self._recent) > RECENT_ROWS:
            self._recent.popitem(last=False)


class _AppendedFile:
    """A file that is appended to, cut to `length` first; its buffer is written as a whole."""

    def __init__(self, path: Path, length: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if os.fstat(self._file).st_size < length:
            os.close(self._file)
            raise StartupError(f"{path} is shorter than the journal says; --force begins anew")
        os.truncate(self._file, length)
        self._written = length
        self._buffer = bytearray()

    def append(self, content: bytes) -> int:
        """Appends the content; returns where it begins."""
        offset = self._written + len(self._buffer)
        self._buffer += content
        if len(self._buffer) >= BUFFER_BYTES:
            self._flush()
        return offset

    def read(self, offset: int, length: int) -> bytes:
        """Returns a part of what was appended."""
        if offset + length > self._written:
            self._flush()
        return os.pread(self._file, length, offset)

    def sync(self) -> int:
        """Puts the content on disk; returns its length."""
        self._flush()
        os.fsync(self._file)
        return self._written

    def close(self) -> None:
        os.close(self._file)

    def _flush(self) -> None:
        while self._buffer:
            count = os.pwrite(self._file, self._buffer, self._written)
            self._written += count
            del self._buffer[:count]
