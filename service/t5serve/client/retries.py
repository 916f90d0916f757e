"""Decides whether a request is sent again, and when."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRIED_STATUSES = frozenset({429, 502, 503})
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0


def is_retried(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a request with this answer may succeed when it is sent again."""
    return status in RETRIED_STATUSES and headers.get("x-should-retry") != "false"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds of Retry-After, which has seconds or a date; None without either.

    Source: RFC 9110, section 10.2.3.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000": UTC, as the RFC has it
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def backoff(attempt: int) -> float:
    """Returns the seconds to wait after the attempt of this number, from 0: doubled each time.

    Half of them are random, so that clients that were refused together do not return together.
    """
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**attempt)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


class Deadline:
    """The end of a call.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """The seconds until the end, at least 0."""
        return max(0.0, self._end - time.monotonic())
