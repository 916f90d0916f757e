"""Reads the answers of the service: results, or the error that the service reports."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from t5serve.errors import (
    ERROR_RESPONSES,
    InvalidRequest,
    NotReady,
    QueueFull,
    RequestError,
    ServerFault,
)
from t5serve.results import RankedDocument, Result


class _Answer(msgspec.Struct):
    results: list[Result]


class _RankedIndex(msgspec.Struct):
    index: int
    relevance_score: float


class _RerankAnswer(msgspec.Struct):
    results: list[_RankedIndex]


class _Error(msgspec.Struct):
    message: str
    param: str | None = None
    code: str | None = None


class _ErrorAnswer(msgspec.Struct):
    error: _Error


_BY_CODE: dict[tuple[int, str | None], type[RequestError]] = {
    (response.status, response.code): error
    for error, response in reversed(ERROR_RESPONSES.items())
    if response.code is not None
}
_BY_STATUS: dict[int, type[RequestError]] = {
    response.status: error for error, response in reversed(ERROR_RESPONSES.items())
}
# Of proxies, whose answers have no code.
_BY_STATUS |= {429: QueueFull, 502: NotReady, 503: NotReady}


def read_results(content: bytes, count: int) -> list[Result]:
    """Returns the results of an answer.

    Raises:
        ServerFault: the answer is not the service's, or has another number of results.
    """
    try:
        results = msgspec.json.decode(content, type=_Answer).results
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ServerFault(f"the answer is none of t5serve's: {error}") from None
    if len(results) != count:
        raise ServerFault(f"the answer has {len(results)} results instead of {count}")
    return results


def read_ranking(content: bytes, documents: Sequence[str]) -> list[RankedDocument]:
    """Returns the documents of an answer, in its order.

    Raises:
        ServerFault: the answer is not the service's, or names a document that was not sent.
    """
    try:
        results = msgspec.json.decode(content, type=_RerankAnswer).results
        return [
            RankedDocument(result.index, documents[result.index], result.relevance_score)
            for result in results
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError) as error:
        raise ServerFault(f"the answer is none of t5serve's: {error}") from None


def read_error(status: int, content: bytes) -> RequestError:
    """Returns the error of an answer: the class that the service raised, by code or status."""
    try:
        error = msgspec.json.decode(content, type=_ErrorAnswer).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        error = _Error(f"the service answered with status {status}")
    usual = InvalidRequest if status < 500 else ServerFault
    kind = _BY_CODE.get((status, error.code)) or _BY_STATUS.get(status, usual)
    return kind(error.message, param=error.param)
