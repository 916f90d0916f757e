"""Figures of a model in training: what its greedy answers keep and hit, without guards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from t5gguf.tasks import Preserved
from t5serve.reformulation.guards.lists import ListGuards
from t5train.searches import MARK, Row
from t5train.words import normal

KEPT: tuple[Preserved, ...] = ("numbers", "negation", "rare", "capitalised", "identifiers")


@dataclass(frozen=True)
class Score:
    """What one answer is worth.

    Attributes:
        is_exact: Whether the answer is the row's searches, in any order.
        found: The share of the row's searches that the answer has.
        is_copy: Whether the answer is the request.
        lost: The aspects that the answer does not keep.
    """

    is_exact: bool
    found: float
    is_copy: bool
    lost: tuple[str, ...]


def split(text: str) -> list[str]:
    """Returns the searches of an answer, each once and without blank ones."""
    return list(dict.fromkeys(filter(None, (part.strip() for part in text.split(MARK)))))


def score(row: Row, answer: Sequence[str]) -> Score:
    """Compares an answer with the searches of a row, without case and punctuation."""
    wanted = {normal(target) for target in row.targets}
    given = {normal(text) for text in answer}
    lost = tuple(
        aspect
        for aspect in KEPT
        if not answer or ListGuards(row.source, (aspect,)).violation(answer) == aspect
    )
    return Score(
        is_exact=given == wanted,
        found=len(given & wanted) / len(wanted),
        is_copy=given == {normal(row.source)},
        lost=lost,
    )


def summarise(rows: Iterable[Row], answers: Iterable[Sequence[str]]) -> dict[str, list[Score]]:
    """Returns the scores by task and origin, and by task."""
    groups: defaultdict[str, list[Score]] = defaultdict(list)
    for row, answer in zip(rows, answers, strict=True):
        scored = score(row, answer)
        origin, _, form = row.origin.partition("/")
        groups[f"{row.task} {form or origin}"].append(scored)
        groups[row.task].append(scored)
    return dict(groups)


def table(groups: Mapping[str, Sequence[Score]]) -> Iterator[str]:
    """Yields the lines of a table: percentages, a line a group."""
    columns = ("exact", "found", "copy", *(f"keep {aspect}" for aspect in KEPT))
    yield f"{'':32} {'rows':>5} " + " ".join(f"{name:>9.9}" for name in columns)
    for name, scores in sorted(groups.items()):
        shares = [
            fmean(one.is_exact for one in scores),
            fmean(one.found for one in scores),
            fmean(one.is_copy for one in scores),
            *(fmean(aspect not in one.lost for one in scores) for aspect in KEPT),
        ]
        cells = " ".join(f"{100 * share:9.1f}" for share in shares)
        yield f"{name:32} {len(scores):5d} {cells}"
