"""Identifiers: flags, paths, versions, part numbers, e-mail addresses, URLs, names from code."""

from __future__ import annotations

import re

from t5serve.reformulation.guards.analysed_text import AnalysedText

EDGES = "\"'`,;:!?()[]{}<>\u201c\u201d\u2018\u2019"
IDENTIFIER = re.compile(
    r"""
    --?\w[\w-]*(=\S+)?                   # flags: --onto, -v
    | \S*@\S*\w                          # addresses, packages: a@b.org, @scope/name
    | \w+://\S+                          # URLs
    | [./~]*(/[\w.@-]+)+/?               # absolute and relative paths
    | [\w.-]*\w[/\\][\w.-]*[\d._-][\w.-]*([/\\]\S*)?  # owner/repo-1.2
    | (?=\S*\d)(?=\S*[^\W\d])[\w.+/-]+   # letters and digits: da29-00020b, v1.2, mp3
    | \w+(::|->)\w\S*                    # std::vector
    | [\w.]*\w\(\)?.*                    # print(
    | [A-Za-z_]\w*_\w*                   # snake_case
    | [A-Za-z]*[a-z][A-Z]\w*             # camelCase
    | [A-Za-z][\w-]*\.[a-z]\w*(\.\w+)*   # nginx.conf, example.com
    | [A-Za-z]{1,3}(\+\+|\#)             # C++, F#
    | \w+(\+\w+)+                       # ctrl+shift+t
    | \$\w+ | \#\w+
    """,
    re.VERBOSE,
)
ABBREVIATION = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]?|vs\.|etc\.", re.IGNORECASE)
ORDINAL = re.compile(r"\d+(?:st|nd|rd|th|s|am|pm)", re.IGNORECASE)


class Identifiers:
    """Keeps every identifier of the query as it is, but for case."""

    def __init__(self, query: AnalysedText) -> None:
        self._identifiers = [token.casefold() for token in find_identifiers(query.text)]

    def rejects(self, candidate: AnalysedText) -> bool:
        """Whether a candidate lost an identifier."""
        text = candidate.text.casefold()
        return any(identifier not in text for identifier in self._identifiers)


def find_identifiers(text: str) -> list[str]:
    """Returns the identifiers of a text, without the punctuation around them."""
    tokens = (token.rstrip(".").strip(EDGES).rstrip(".") for token in text.split())
    return [token for token in tokens if token and is_identifier(token)]


def is_identifier(token: str) -> bool:
    """Whether a token is an identifier."""
    if ABBREVIATION.fullmatch(token) or ORDINAL.fullmatch(token):
        return False
    return IDENTIFIER.fullmatch(token) is not None
