"""Pairs to evaluate on: a task, an input, and the reference output."""

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
    """One example. Without a task, the model's default task applies."""

    task: str | None
    source: str
    target: str


def read(path: Path, task: str | None = None) -> list[Pair]:
    """Reads the pairs of a tab-separated file: task, source, target; or source, target.

    A header line is skipped.

    Args:
        path: A file in UTF-8, without quoting.
        task: The task of pairs that have none in the file.

    Raises:
        EvaluationError: The file is not UTF-8, or a line has other columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path} is not UTF-8: {error}") from error
    first = 1 if rows and tuple(rows[0]) in (COLUMNS, COLUMNS[1:]) else 0
    width = len(rows[0]) if rows else 0
    pairs = []
    for number, row in enumerate(rows[first:], first + 1):
        if len(row) != width or width not in (2, 3) or not row[-2].strip() or not row[-1].strip():
            raise EvaluationError(f"{path}:{number}: expected [task,] source and target")
        pair_task = row[0] or task if width == len(COLUMNS) else task
        pairs.append(Pair(pair_task, clean(row[-2]), clean(row[-1])))
    if not pairs:
        raise EvaluationError(f"{path} holds no pairs")
    return pairs


def sample_by_task(
    pairs: Sequence[Pair], limit: int | None, seed: int
) -> dict[str | None, list[Pair]]:
    """Returns at most `limit` random pairs of each task, tasks in the order of their first pair."""
    by_task: dict[str | None, list[Pair]] = {}
    for pair in pairs:
        by_task.setdefault(pair.task, []).append(pair)
    return {task: draw(task_pairs, limit, seed) for task, task_pairs in by_task.items()}


def draw(items: Sequence[Item], limit: int | None, seed: int) -> list[Item]:
    """Returns at most `limit` random items without replacement, in their order."""
    if limit is None or len(items) <= limit:
        return list(items)
    indices = random.Random(seed).sample(range(len(items)), limit)  # noqa: S311 - no secret
    return [items[index] for index in sorted(indices)]
