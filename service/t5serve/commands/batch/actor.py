"""What runs on the nodes of a Ray cluster: one reads the rows of a part, actors answer them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from t5engine.background import Background
from t5serve import __version__
from t5serve.api import EmbeddedModel
from t5serve.commands.batch.answers import Asker
from t5serve.commands.batch.formats import OutputFormat, RowFormat, RowShape
from t5serve.commands.batch.job import BatchJob
from t5serve.commands.batch.rows import BadRow, Item, Position, Row, Source
from t5serve.errors import RequestError, StartupError
from t5serve.models.declaration import Declaration
from t5serve.results import Result
from t5serve.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Task:
    """What each actor is told.

    Attributes:
        settings: of the model.
        declaration: of the model: its file, its threads, its defaults.
        values: the options of each request.
        is_strict: whether a query without usable text is refused.
        output_format: of the rows.
        shape: what a row has.
        version: of t5serve where the command runs.
    """

    settings: Settings
    declaration: Declaration
    values: dict[str, Any]
    is_strict: bool
    output_format: OutputFormat
    shape: RowShape
    version: str


class PartRecord:
    """The rows and bad rows of a part, in memory."""

    def __init__(self) -> None:
        self.is_complete = False
        self.rows = bytearray()
        self.errors = bytearray()
        self._bodies: dict[bytes, bytes] = {}

    def find(self, key: bytes) -> bytes | None:
        """Returns the body of the row of a query that was written; None if there is none."""
        return self._bodies.get(key)

    def write_row(self, head: bytes, body: bytes, key: bytes | None) -> None:
        """Appends a row: its head, its body, and the key of its query at its first row."""
        self.rows += head + body
        if key is not None:
            self._bodies[key] = body

    def write_error(self, line: bytes) -> None:
        """Appends a bad row."""
        self.errors += line

    def advance(self, position: Position) -> None:
        """Does nothing: a part is answered as a whole, or again."""

    def checkpoint(self) -> None:
        """Does nothing: a part is answered as a whole, or again."""

    def complete(self) -> None:
        """Marks the part as answered."""
        self.is_complete = True


class PartAnswerer:
    """Answers parts with a model that it loads. Two parts at a time, in threads, keep it busy.

    Args:
        task: what to do.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._background = Background(
            lambda: EmbeddedModel.load_declared(task.settings, task.declaration)
        )
        self._background.open()

    def __call__(self, table: pa.Table) -> pa.Table:
        """Returns the answer to a part, each a table of one row.

        What the operator must mend is no failure of the actor, which Ray would start again: it is
        the answer's `fault`.
        """
        (part,) = table.to_pylist()
        record, model, fault = PartRecord(), "", ""
        try:
            self._check_version()
            items = decode_items(part["items"])
            model = self._background.run(lambda embedded: self._answer(embedded, items, record))
        except (StartupError, RequestError) as error:
            fault = str(error)
        answer = {"number": part["number"], "model": model, "fault": fault}
        return _table({**answer, "rows": bytes(record.rows), "errors": bytes(record.errors)})

    async def _answer(
        self, embedded: EmbeddedModel, items: Iterator[Item], record: PartRecord
    ) -> str:
        """Answers the rows; returns what tells the model from another one."""
        options = embedded.read_options(self._task.values)  # type: ignore[arg-type]

        async def reformulate(queries: list[str]) -> list[Result]:
            return await embedded.reformulate(queries, options)

        await BatchJob(
            items,
            record,
            RowFormat(self._task.output_format, self._task.shape),
            Asker(reformulate, is_strict=self._task.is_strict),
            chunk=1,
            concurrency=embedded.concurrency,
        ).run()
        return await embedded.model.fingerprint.text()

    def _check_version(self) -> None:
        if self._task.version != __version__:
            raise StartupError(
                f"a node has t5serve {__version__}, and the command is of t5serve"
                f" {self._task.version}; install the same one everywhere"
            )


def read_part(table: pa.Table, source: Source) -> pa.Table:
    """Returns the rows of a part, each a table of one row."""
    (part,) = table.to_pylist()
    items = source.read(Position(part["offset"], part["row"]))
    content = encode_items(islice(items, part["rows"]))
    return _table({"number": part["number"], "items": content})


def encode_items(items: Iterator[Item]) -> bytes:
    """Returns rows and bad rows as MessagePack: arrays of their fields."""
    return msgspec.msgpack.encode([tuple(item.row) for item in items])


def decode_items(content: bytes) -> Iterator[Item]:
    """Yields rows and bad rows; a bad row has a field more than a row."""
    for fields in msgspec.msgpack.decode(content):
        row = Row(*fields) if len(fields) == len(Row._fields) else BadRow(*fields)
        yield Item(row, Position(row.number, row.number))


def _table(row: dict[str, Any]) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 - an extra

    return pa.Table.from_pylist([row])
