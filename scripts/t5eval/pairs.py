"""Pairs to evaluate on: a task, what goes in, what should come out."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from t5eval.errors import EvaluationError
from t5serve.reformulation.text import clean

COLUMNS = ("task", "source", "target")
Item = TypeVar("Item")


class Pair(NamedTuple):
    """One example; without a task, the model's default one is meant."""

    task: str | None
    source: str
    target: str


def read(path: Path, task: str | None = None) -> list[Pair]:
    """The pairs of a tab-separated file: task, source, target; or source, target.

    A first line that names its columns is none of them.

    Args:
        path: UTF-8, nothing quoted.
        task: of the pairs of which the file tells none.

    Raises:
        EvaluationError: no UTF-8, or a line that is neither.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path} is not UTF-8: {error}") from error
    first = 1 if rows and tuple(rows[0]) in (COLUMNS, COLUMNS[1:]) else 0
    width = len(rows[0]) if rows else 0
    found = []
    for number, row in enumerate(rows[first:], first + 1):
        if len(row) != width or width not in (2, 3) or not row[-2].strip() or not row[-1].strip():
            raise EvaluationError(f"{path}:{number}: expected [task,] source and target")
        own = row[0] or task if width == len(COLUMNS) else task
        found.append(Pair(own, clean(row[-2]), clean(row[-1])))
    if not found:
        raise EvaluationError(f"{path} holds no pairs")
    return found


def by_task(pairs: Sequence[Pair], most: int | None, seed: int) -> dict[str | None, list[Pair]]:
    """The pairs of each task, in the order of their first; of each, so many drawn at random."""
    found: dict[str | None, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.task, []).append(pair)
    return {task: draw(members, most, seed) for task, members in found.items()}


def draw(items: Sequence[Item], most: int | None, seed: int) -> list[Item]:
    """So many of them without putting back, in their order; all if there are no more."""
    if most is None or len(items) <= most:
        return list(items)
    places = random.Random(seed).sample(range(len(items)), most)  # noqa: S311 - no secret
    return [items[place] for place in sorted(places)]
