"""Templates for requests and their searches: alternatives and slots for names.

`(Which|What) river is (1:longer|deeper), {the river} or {the river2}?` draws an alternative of
each parenthesis and two different rivers. Its target `{river} (1:length|depth)` repeats names by
slot and the choice of a parenthesis by number. `the` writes the article of names that need one;
targets have none. Parentheses may be nested, and `(a|)` may be empty. In a target, alternatives
with a slot that the drawn source does not have are left out; those with the most slots are taken.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SLOT = re.compile(r"\{(the )?(([a-z_]+?)\d*)\}")
INNERMOST = re.compile(r"\((?:(\d):)?([^()]*)\)")
MARK = "\t"
ATTEMPTS = 20  # to draw a name that the request has not yet
ARTICLE = "the "  # a pool's name begins with it if sentences put the article there


class GrammarError(ValueError):
    """A template is written wrongly."""


class Template(NamedTuple):
    """A request and its searches, with alternatives and slots."""

    source: str
    targets: tuple[str, ...]

    def categories(self) -> set[str]:
        """The pools that the template draws from."""
        texts = (self.source, *self.targets)
        return {match[3] for text in texts for match in SLOT.finditer(text)}


class Request(NamedTuple):
    """A request and its searches as text."""

    source: str
    targets: tuple[str, ...]


def parse(line: str) -> Template:
    """A template from a line: the source, then the targets, tabs between.

    Raises:
        GrammarError: no target, an unbalanced parenthesis, or a target's slot that the
            source does not have.
    """
    source, *targets = (part.strip() for part in line.split(MARK))
    template = Template(source, tuple(filter(None, targets)))
    if not source or not template.targets:
        raise GrammarError(f"{line!r} needs a source and a target, with a tab between them")
    for text in (source, *template.targets):
        if text.count("(") != text.count(")"):
            raise GrammarError(f"{text!r} has an unbalanced parenthesis")
    known = {match[2] for match in SLOT.finditer(source)}
    unknown = {match[2] for text in template.targets for match in SLOT.finditer(text)} - known
    if unknown:
        raise GrammarError(f"{line!r}: the source has no slot {sorted(unknown)}")
    return template


def read(path: Path) -> Iterator[Template]:
    """The templates of a file, without blank lines and those that begin with `#`."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield parse(line)


def read_sources(path: Path) -> Iterator[Template]:
    """The templates of a file of sources alone."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield Template(line.strip(), ())


def fill(template: Template, pools: Mapping[str, Sequence[str]], rng: random.Random) -> Request:
    """A request with alternatives and names drawn."""
    return rewordings(template, pools, rng, 1)[0]


def rewordings(
    template: Template, pools: Mapping[str, Sequence[str]], rng: random.Random, count: int
) -> list[Request]:
    """Requests with the same names and numbered choices, whose other alternatives may differ."""
    chosen: dict[str, int] = {}
    names: dict[str, str] = {}
    return [_fill(template, pools, rng, chosen, names) for _ in range(count)]


def _fill(
    template: Template,
    pools: Mapping[str, Sequence[str]],
    rng: random.Random,
    chosen: dict[str, int],
    names: dict[str, str],
) -> Request:
    source = choose(template.source, rng, chosen)
    slots = {match[2]: match[3] for match in SLOT.finditer(source)}
    draw(slots, pools, rng, names)
    names = {slot: names[slot] for slot in slots}
    targets = [choose(target, rng, chosen, names) for target in template.targets]
    targets = [
        SLOT.sub(lambda match: names[match[2]].removeprefix(ARTICLE), target)
        for target in targets
        if all(match[2] in names for match in SLOT.finditer(target))
    ]
    source = SLOT.sub(lambda match: _written(match, names[match[2]]), source)
    different = tuple(dict.fromkeys(" ".join(target.split()) for target in targets))
    return Request(capitalised(" ".join(source.split())), different)


def draw(
    slots: Mapping[str, str],
    pools: Mapping[str, Sequence[str]],
    rng: random.Random,
    names: dict[str, str],
) -> None:
    """Adds a name for each slot that has none, different ones for slots of one pool."""
    for slot, category in slots.items():
        if slot in names:
            continue
        for _ in range(ATTEMPTS):
            name = rng.choice(pools[category])
            if name not in names.values():
                break
        names[slot] = name


def choose(
    text: str,
    rng: random.Random,
    chosen: dict[str, int],
    names: Mapping[str, str] | None = None,
) -> str:
    """The text with one alternative of each parenthesis, the innermost first.

    Args:
        text: a source or target of a template.
        rng: for parentheses without a number, and for those whose number is not chosen yet.
        chosen: the choices by number; new ones are added.
        names: by slot, for a target; None for a source.
    """

    def alternative(match: re.Match[str]) -> str:
        number: str | None = match[1]
        options: list[str] = match[2].split("|")
        if number:
            return options[chosen.setdefault(number, rng.randrange(len(options))) % len(options)]
        return rng.choice(options if names is None else _richest(options, names))

    while INNERMOST.search(text):
        text = INNERMOST.sub(alternative, text)
    return text


def _richest(options: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Keeps options whose slots all have names; of these, the ones with the most slots."""
    slots = {option: {match[2] for match in SLOT.finditer(option)} for option in options}
    filled = {option: needed for option, needed in slots.items() if needed <= names.keys()}
    most = max(map(len, filled.values()), default=0)
    return [option for option, needed in filled.items() if len(needed) == most] or [""]


def capitalised(text: str) -> str:
    """The text with a capital first letter, unless its first word is written like iPhone."""
    first = text.partition(" ")[0]
    return text if first[1:] != first[1:].lower() else text[:1].upper() + text[1:]


def _written(match: re.Match[str], name: str) -> str:
    return name if match[1] else name.removeprefix(ARTICLE)
