"""The short version of tests/load/overhead.py."""

from __future__ import annotations

import pytest

from load.overhead import Parts, measure, table

ROUNDING = 0.03  # of a log line's milliseconds, a few of them together


@pytest.fixture(scope="module")
def measured() -> dict[str, list[Parts]]:
    """A few requests, by route."""
    return measure(4, warm=0)


def test_every_request_finds_its_line(measured: dict[str, list[Parts]]) -> None:
    """Both routes, as often as they were asked."""
    assert {path: len(parts) for path, parts in measured.items()} == {
        "/v1/reformulate": 4,
        "/v1/completions": 4,
    }


def test_one_time_is_inside_the_other(measured: dict[str, list[Parts]]) -> None:
    """What the worker measures is part of what the service measures, and that of the client's."""
    for one in [parts for route in measured.values() for parts in route]:
        assert one.engine > 0
        assert one.ipc > 0
        assert one.engine <= one.worker + ROUNDING
        assert one.queue + one.ipc + one.worker <= one.service + ROUNDING
        assert one.queue + one.ipc + one.worker <= one.client + ROUNDING


def test_the_parts_are_the_difference(measured: dict[str, list[Parts]]) -> None:
    """Nothing is left out and nothing counts twice."""
    for one in [parts for route in measured.values() for parts in route]:
        rows = one.rows()
        parts = [value for name, value in rows.items() if name.startswith("- ")]
        assert sum(parts) == pytest.approx(rows["difference"])


def test_the_table_has_a_column_for_each_route(measured: dict[str, list[Parts]]) -> None:
    """And a line for each part, below the head and its rule."""
    lines = table(measured).splitlines()
    assert lines[0].count("/v1/") == 2
    assert len(lines) == 2 + len(measured["/v1/reformulate"][0].rows())
