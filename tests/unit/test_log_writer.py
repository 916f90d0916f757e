"""The thread that writes the log."""

from __future__ import annotations

import logging
import os

import pytest

from t5serve import log_writer
from t5serve.log_writer import LogWriter


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, "", 0, text, None, None)


def test_lines_are_written_in_order() -> None:
    """What was logged before a flush is written after it."""
    reader, writer = os.pipe()
    log = LogWriter(writer)
    for index in range(100):
        log.handle(record(f"{index}"))
    log.flush()
    assert os.read(reader, 10_000).decode().split() == [f"{index}" for index in range(100)]
    assert log.dropped == 0


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_without_room_are_counted(monkeypatch: pytest.MonkeyPatch, *, blocking: bool) -> None:
    """A full pipe loses lines and blocks nobody; a reader then finds the number of lost lines."""
    monkeypatch.setattr(log_writer, "MAX_BYTES", 100_000)
    reader, writer = os.pipe()
    os.set_blocking(writer, blocking)
    log = LogWriter(writer)
    for _ in range(1000):
        log.handle(record("a" * 999))
    log.flush(0.01)
    lost = log.dropped
    assert lost > 700
    text = b""
    while b"dropped" not in text:
        text += os.read(reader, 100_000)
    assert text.count(b"a" * 999) + lost == 1000
    assert f"{lost} log lines were dropped" in text.decode()


def test_a_reader_that_left() -> None:
    """Lines for a closed pipe are dropped and counted."""
    reader, writer = os.pipe()
    os.close(reader)
    log = LogWriter(writer)
    log.handle(record("a"))
    log.flush()
    assert log.dropped >= 1
