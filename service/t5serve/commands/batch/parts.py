"""The finished parts of a job on Ray, on disk: a file per part, each written as a whole.

A part is finished when its file of rows has its name. So a killed job goes on with the parts that
are missing, and a part that is answered twice is there once.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import NamedTuple, Self

from t5serve.commands.batch.identity import describe_differences
from t5serve.commands.batch.journal import Paths
from t5serve.commands.batch.rows import Position, Source
from t5serve.errors import StartupError

LEAST_ROWS, MOST_ROWS = 250, 1000  # of a part
USUAL_PARTS = 500


class Part(NamedTuple):
    """Rows of the input, one after another.

    Attributes:
        number: of the part, from 0.
        start: the position before its first row.
        rows: how many rows it has.
    """

    number: int
    start: Position
    rows: int


class Parts:
    """The parts of a job.

    Args:
        paths: the files.
        identity: tells the job from another one: its input and options.
        source: the input.

    Raises:
        StartupError: the folder is another job's, or another process writes it.
    """

    def __init__(self, paths: Paths, identity: str, source: Source) -> None:
        self._paths = paths
        self._folder = paths.parts
        self._total = source.total
        self._job = self._folder / "job.json"
        self._folder.mkdir(exist_ok=True)
        self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._take_lock()
            self._facts = self._read_facts(identity)
            self._parts = cut(source)
        except BaseException:
            os.close(self._lock)
            raise
        self._finished = {int(path.stem) for path in self._folder.glob("*.rows")}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    @property
    def missing(self) -> list[Part]:
        """The parts that are not finished."""
        return [part for part in self._parts if part.number not in self._finished]

    def write(self, number: int, rows: bytes, errors: bytes, model: str) -> int:
        """Writes the rows and the bad rows of a part, unless it is finished.

        Args:
            number: of the part.
            rows: a line each.
            errors: a line each.
            model: tells the model that answered from another one.

        Returns:
            How many rows of the input are done.

        Raises:
            StartupError: another model has answered before.
        """
        if number in self._finished:
            return 0
        part = self._parts[number]
        self._check_model(model)
        count = rows.count(b"\n") + errors.count(b"\n")
        if count != part.rows:
            raise StartupError(f"part {number} has {count} of {part.rows} rows; --resume continues")
        if errors:
            self._write_file(self._folder / f"{number:08}.errors", errors)
        self._write_file(self._folder / f"{number:08}.rows", rows)
        self._finished.add(number)
        return part.rows

    def join(self) -> int:
        """Joins the parts to two files, rows and bad rows; returns how many rows are bad.

        Raises:
            StartupError: rows are missing.
        """
        good = self._join("rows", self._paths.rows)
        bad = self._join("errors", self._paths.errors_part)
        if good + bad != self._total:
            raise StartupError(
                f"{self._folder} has {good + bad:,} of {self._total:,} rows; --force begins anew"
            )
        return bad

    def _join(self, kind: str, path: Path) -> int:
        count = 0
        with path.open("wb") as file:
            for number in range(len(self._parts)):
                part = self._folder / f"{number:08}.{kind}"
                if kind == "rows" or part.exists():
                    content = part.read_bytes()
                    count += content.count(b"\n")
                    file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return count

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartupError(
                f"{self._folder}: {error.strerror}; another process seems to write"
                f" {self._paths.out}"
            ) from error

    def _read_facts(self, identity: str) -> dict[str, str]:
        """Returns the identity and the model; the model is "" until something is answered."""
        if not self._job.exists():
            facts = {"identity": identity, "model": ""}
            self._write_file(self._job, json.dumps(facts).encode())
            return facts
        known: dict[str, str] = json.loads(self._job.read_bytes())
        if known["identity"] != identity:
            difference = describe_differences(known["identity"], identity)
            raise StartupError(f"{self._folder} {difference}")
        return known

    def _check_model(self, model: str) -> None:
        if not self._facts["model"]:
            self._facts["model"] = model
            self._write_file(self._job, json.dumps(self._facts).encode())
        elif self._facts["model"] != model:
            raise StartupError(
                f"a node has the model {model}, and the rows in {self._folder} are of"
                f" {self._facts['model']}; put the same file on each node, or --force begins anew"
            )

    def _write_file(self, path: Path, content: bytes) -> None:
        unfinished = path.with_name(f"{path.name}.part")
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)


def cut(source: Source) -> list[Part]:
    """Cuts the input into parts: some hundreds, for all actors to have work to the end."""
    rows = min(max(LEAST_ROWS, source.total // USUAL_PARTS), MOST_ROWS)
    end = source.start.number + source.total
    return [
        Part(number, start, min(rows, end - start.number))
        for number, start in enumerate(source.cut(rows))
    ]
