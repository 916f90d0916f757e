"""Splits a question for the difference between two things into a search for each, and both."""

from __future__ import annotations

import re

THING = r"(?:the |an? )?(?P<{name}>\S+(?: \S+){{0,3}}?)"
WHERE = r"(?: (?P<where>(?:in|on|for|of) (?:\S+ ){0,3}\S+))?"
BETWEEN = rf"(?:between )?{THING.format(name='first')} and {THING.format(name='second')}{WHERE}"
QUESTION = re.compile(
    rf"(?:(?:what(?:'s|s| is| are| was| were)|is there) (?:the |a |any )?)?differences? {BETWEEN}",
    re.IGNORECASE,
)


def split(question: str) -> tuple[str, ...] | None:
    """Returns the searches; None if it is another question, or the things may share a word.

    `type 1 and type 2 diabetes` share their noun: a search for `type 1` would find something else.
    """
    match = QUESTION.fullmatch(question.strip().rstrip("?.! "))
    if match is None or "," in question:
        return None
    first, second, where = match["first"], match["second"], match["where"]
    if len(first.split()) != len(second.split()):
        return None
    tail = f" {where}" if where else ""
    return f"{first}{tail}", f"{second}{tail}", f"{first} vs {second}{tail}"
