"""Words of searches: what names an attribute, widens the view, or can be left out."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import msgspec


class _Table(msgspec.Struct, frozen=True):
    """The file attributes.toml: words with blanks between."""

    widening: str
    dropped: str
    comparing: str
    attributes: dict[str, str]
    opposites: dict[str, str]


@dataclass(frozen=True)
class Attributes:
    """The words that a search may have or leave out.

    Attributes:
        cues: the words of requests that ask for an attribute, by the attribute's name; each with
            the words that the request must have besides.
        widening: words that any search may have.
        dropped: words that any search may leave out.
        comparing: words that several searches for compared things may leave out.
        opposites: words that say what a negation of a word says.
    """

    cues: dict[str, dict[str, list[frozenset[str]]]]
    widening: frozenset[str]
    dropped: frozenset[str]
    comparing: frozenset[str]
    opposites: dict[str, frozenset[str]]

    def asks(self, word: str, name: str, request: AbstractSet[str]) -> bool:
        """Whether a word of a request asks for an attribute.

        Args:
            word: the word.
            name: the attribute's name.
            request: all words of the request.
        """
        return any(others <= request for others in self.cues.get(name, {}).get(word, ()))

    def is_asked(self, name: str, request: AbstractSet[str]) -> bool:
        """Whether any word of a request asks for an attribute."""
        return any(self.asks(word, name, request) for word in request)

    @cached_property
    def deeds(self) -> frozenset[str]:
        """What may follow "who" and says for what somebody is named: "painted", "wrote"."""
        roles = (words for words in self.cues.values() if "who" in words)
        return frozenset(itertools.chain.from_iterable(roles)) - {"who"}

    @classmethod
    def load(cls) -> Attributes:
        """Reads the table."""
        path = resources.files("t5serve.reformulation") / "attributes.toml"
        table = msgspec.toml.decode(path.read_bytes(), type=_Table)
        cues: defaultdict[str, defaultdict[str, list[frozenset[str]]]]
        cues = defaultdict(lambda: defaultdict(list))
        for names, words in table.attributes.items():
            for name, cue in itertools.product(names.split(), words.split()):
                word, *others = cue.split("+")
                cues[name][word].append(frozenset(others))
        return cls(
            {name: dict(words) for name, words in cues.items()},
            frozenset(table.widening.split()),
            frozenset(table.dropped.split()),
            frozenset(table.comparing.split()),
            {
                word: frozenset(opposites.split())
                for words, opposites in table.opposites.items()
                for word in words.split()
            },
        )


ATTRIBUTES = Attributes.load()
