"""The error table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from t5serve.errors import ERROR_RESPONSES, RequestError


def subclasses(kind: type[RequestError]) -> Iterator[type[RequestError]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.mark.parametrize("kind", list(subclasses(RequestError)))
def test_every_error_has_an_answer(kind: type[RequestError]) -> None:
    """A new error class without a row in the table would be a KeyError for a client."""
    answer = ERROR_RESPONSES[kind]
    assert 400 <= answer.status < 600
    assert answer.type.endswith("error")


def test_statuses_are_the_contract_s() -> None:
    """The statuses and codes that clients rely on."""
    rows = {(answer.status, answer.code) for answer in ERROR_RESPONSES.values()}
    assert rows >= {
        (400, "context_length_exceeded"),
        (413, "request_too_large"),
        (422, "input_quarantined"),
        (429, "queue_full"),
        (503, "not_ready"),
        (504, "deadline_exceeded"),
    }


def test_overload_says_when_to_come_back() -> None:
    """429 and 503 carry Retry-After; what would fail again or add to the load must not return."""
    for answer in ERROR_RESPONSES.values():
        assert ("retry-after" in answer.headers) == (answer.status in (429, 503))
        assert ("x-should-retry" in answer.headers) == (answer.status in (422, 504))
