"""The table of error responses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from t5serve.errors import ERROR_RESPONSES, RequestError


def subclasses(error_class: type[RequestError]) -> Iterator[type[RequestError]]:
    for child in error_class.__subclasses__():
        yield child
        yield from subclasses(child)


@pytest.mark.parametrize("error_class", list(subclasses(RequestError)))
def test_every_error_has_an_answer(error_class: type[RequestError]) -> None:
    """A new error class without a row in the table would be a KeyError for a client."""
    response = ERROR_RESPONSES[error_class]
    assert 400 <= response.status < 600
    assert response.type.endswith("error")


def test_statuses_are_the_contract_s() -> None:
    """The statuses and codes that clients rely on exist."""
    rows = {(response.status, response.code) for response in ERROR_RESPONSES.values()}
    assert rows >= {
        (400, "context_length_exceeded"),
        (413, "request_too_large"),
        (422, "input_quarantined"),
        (429, "queue_full"),
        (503, "not_ready"),
        (504, "deadline_exceeded"),
    }


def test_overload_says_when_to_come_back() -> None:
    """429 and 503 carry Retry-After; 422 and 504 forbid a retry."""
    for response in ERROR_RESPONSES.values():
        assert ("retry-after" in response.headers) == (response.status in (429, 503))
        assert ("x-should-retry" in response.headers) == (response.status in (422, 504))
