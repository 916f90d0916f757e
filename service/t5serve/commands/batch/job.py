"""A job: reads rows, has each distinct query answered once, and writes rows in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from t5serve.commands.batch.answers import Asker, Refusal
from t5serve.commands.batch.formats import RowFormat, format_error
from t5serve.commands.batch.rows import BadRow, Item, Position, Row

WINDOW_ROWS = 10_000  # between the first row without an answer and the last row that was read
ROWS_BETWEEN_BREAKS = 100  # in which tasks and messages of the workers have their turn
Body = bytes | Refusal


class Record(Protocol):
    """Where a job writes its rows.

    Attributes:
        is_complete: whether nothing is left to write.
    """

    is_complete: bool

    def find(self, key: bytes) -> bytes | None:
        """Returns the body of the row of a query that was written; None if there is none."""
        ...

    def write_row(self, head: bytes, body: bytes, key: bytes | None) -> None:
        """Appends a row: its head, its body, and the key of its query at its first row."""
        ...

    def write_error(self, line: bytes) -> None:
        """Appends a bad row."""
        ...

    def advance(self, position: Position) -> None:
        """Records that everything before a position is written."""
        ...

    def checkpoint(self) -> None:
        """Keeps what is written, if the job ends too soon."""
        ...

    def complete(self) -> None:
        """Keeps everything. Nothing can be written any more."""
        ...


@dataclass
class _Entry:
    """A row that is not written yet, and the body of its row, or what will be that.

    Attributes:
        key: of the query, at the first row with this query.
    """

    row: Row | BadRow
    end: Position
    body: Body | asyncio.Future[Body] | None = None
    key: bytes | None = None


class BatchJob:
    """Reformulates rows.

    Args:
        items: the rows.
        record: where rows are written.
        row_format: how rows are written.
        asker: answers queries.
        chunk: the queries that are asked at once.
        concurrency: the most chunks at a time.
        on_written: called with the number of rows after some were written.
    """

    def __init__(
        self,
        items: Iterable[Item],
        record: Record,
        row_format: RowFormat,
        asker: Asker,
        *,
        chunk: int,
        concurrency: int,
        on_written: Callable[[int], object] = lambda _count: None,
    ) -> None:
        self._items = items
        self._record = record
        self._format = row_format
        self._asker = asker
        self._chunk_size = chunk
        self._concurrency = concurrency
        self._on_written = on_written
        self._window: deque[_Entry] = deque()
        self._bodies: dict[bytes, asyncio.Future[Body]] = {}
        """The queries of the window, by key."""
        self._chunk: list[tuple[str, asyncio.Future[Body]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Writes a row for each row, or a bad row.

        Raises:
            RequestError: nobody answers any more; what was written until then is on disk.
        """
        try:
            for count, item in enumerate(self._items):
                await self._add(_Entry(*item))
                if count % ROWS_BETWEEN_BREAKS == 0:
                    await asyncio.sleep(0)
                self._write_answered()
                while len(self._window) >= WINDOW_ROWS:
                    await self._write_first()
            while self._window:
                await self._write_first()
            self._record.complete()
        finally:
            await self._stop()
            if not self._record.is_complete:
                self._record.checkpoint()

    async def _add(self, entry: _Entry) -> None:
        """Appends a row to the window, and asks for its query unless that is known."""
        self._window.append(entry)
        if isinstance(entry.row, BadRow):
            return
        key = blake2b(entry.row.text.encode(), digest_size=16).digest()
        entry.body = self._bodies.get(key) or self._record.find(key)
        if entry.body is None:
            entry.key = key
            future = asyncio.get_running_loop().create_future()
            entry.body = self._bodies[key] = future
            self._chunk.append((entry.row.text, future))
            if len(self._chunk) >= self._chunk_size:
                await self._send_chunk()

    async def _send_chunk(self) -> None:
        while len(self._tasks) >= self._concurrency:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        chunk, self._chunk = self._chunk, []
        if chunk:
            task = asyncio.create_task(self._answer(chunk))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, chunk: list[tuple[str, asyncio.Future[Body]]]) -> None:
        try:
            answers = await self._asker.answer([text for text, _ in chunk])
        except Exception as error:  # noqa: BLE001 - raised where the row is written
            for _, future in chunk:
                future.set_exception(error)
            return
        for (_, future), answer in zip(chunk, answers, strict=True):
            body = answer if isinstance(answer, Refusal) else self._format.body(answer)
            future.set_result(body)

    def _write_answered(self) -> None:
        """Writes the first rows of the window as far as they are answered."""
        count = 0
        while self._window:
            entry = self._window[0]
            if isinstance(entry.body, asyncio.Future):
                if not entry.body.done():
                    break
                body: Body | None = entry.body.result()
            else:
                body = entry.body
            self._window.popleft()
            self._write(entry, body)
            count += 1
        if count:
            self._on_written(count)

    async def _write_first(self) -> None:
        """Waits for the first row of the window, and writes it with those that are answered."""
        await self._send_chunk()
        body = self._window[0].body
        if isinstance(body, asyncio.Future):
            await body
        self._write_answered()

    def _write(self, entry: _Entry, body: Body | None) -> None:
        row = entry.row
        if isinstance(body, Refusal):
            row = BadRow(row.number, body.code, body.message, row.id)
        if isinstance(row, BadRow):
            self._record.write_error(format_error(row))
        elif isinstance(body, bytes):
            self._record.write_row(self._format.head(row.id), body, entry.key)
        if entry.key is not None:
            del self._bodies[entry.key]
        self._record.advance(entry.end)

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for future in self._bodies.values():
            if not future.cancel() and not future.cancelled():
                future.exception()  # it was raised before, or comes after a row that has one
