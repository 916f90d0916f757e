"""Answers for two people to read, and what they said of them.

rubric.md says what the labels mean. A file has one answer a line, without the model's name, in an
order that does not say which guards were on.
"""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from t5eval.errors import EvaluationError
from t5eval.messages import Answer, Request
from t5eval.pairs import draw
from t5eval.report import format_table
from t5gguf.tasks import Task
from t5serve.reformulation.options import Options

DIRECTORY = Path(__file__).parent
REQUESTS, EVERYDAY = DIRECTORY / "requests.tsv", DIRECTORY / "everyday.tsv"
SEARCH, PARAPHRASE = "search", "paraphrase"
PARAPHRASED = 100  # requests that are paraphrased as well; rules were made with the other half
SEPARATOR = " ; "
GUARDED, UNGUARDED = "guards", "no guards"
ADEQUATE, POOR, HARMFUL = LABELS = ("adequate", "poor", "harmful")
YES, NO = "yes", "no"

Ask = Callable[[Sequence[Request]], list[Answer]]


@dataclass(frozen=True)
class Reading:
    """One answer, and what the two readers said of it; "" where nobody has read it.

    Attributes:
        source: where the request comes from.
        one: the first reader's label.
        two: the second reader's.
        things_one: of a comparison, whether each thing has a search of its own.
        things_two: the same, by the second reader.
    """

    task: str
    guards: str
    source: str
    request: str
    answer: str
    one: str = ""
    two: str = ""
    things_one: str = ""
    things_two: str = ""


COLUMNS = [field.name for field in fields(Reading)]


def read_requests(path: Path = REQUESTS) -> list[tuple[str, str]]:
    """Returns the source and the text of each request.

    Raises:
        EvaluationError: a line has not two columns.
    """
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:]]
    for number, row in enumerate(rows, 2):
        if len(row) != 2:
            raise EvaluationError(f"{path}:{number}: expected a source, a tab and a request")
    return [(source, request) for source, request in rows]


def ask_all(
    ask: Ask,
    tasks: Mapping[str, Task],
    requests: Sequence[tuple[str, str]],
    *,
    paraphrases: int = 0,
    seed: int = 0,
) -> list[Reading]:
    """Asks for every answer that is read, with and without guards, and shuffles them.

    Args:
        ask: answers requests, in order.
        tasks: the model's tasks by name, with `search` and `paraphrase`.
        requests: the source and the text of each.
        paraphrases: how many of them are paraphrased as well.
        seed: draws the requests that are paraphrased, and the order.
    """
    others = draw(requests, len(requests) - paraphrases, seed)
    paraphrased = [pair for pair in requests if pair not in others]
    asked = {SEARCH: requests, PARAPHRASE: paraphrased}
    todo = [
        (Reading(task, guards, source, request, ""), _options(tasks[task], task, guards))
        for task, pairs in asked.items()
        for guards in (GUARDED, UNGUARDED)
        for source, request in pairs
    ]
    answers = ask([Request(reading.request, options) for reading, options in todo])
    readings = [
        replace(reading, answer=SEPARATOR.join(answer.texts))
        for (reading, _), answer in zip(todo, answers, strict=True)
    ]
    random.Random(seed).shuffle(readings)  # noqa: S311 - no secret
    return readings


def _options(task: Task, name: str, guards: str) -> Options:
    return Options.for_task(task, task=name, preserve=None if guards == GUARDED else frozenset())


def take_labels(readings: Iterable[Reading], earlier: Iterable[Reading]) -> list[Reading]:
    """Returns readings with the labels that equal answers have."""
    known = {(old.task, old.request, old.answer): old for old in earlier if old.one or old.two}
    labelled = []
    for reading in readings:
        old = known.get((reading.task, reading.request, reading.answer), reading)
        labelled.append(replace(old, guards=reading.guards, source=reading.source))
    return labelled


def load(path: Path) -> list[Reading]:
    """Reads a file of answers.

    Raises:
        EvaluationError: a line has other columns, or a label that the rubric does not have.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or rows[0] != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise EvaluationError(f"{path}: expected the columns {', '.join(COLUMNS)}")
    readings = [Reading(*row) for row in rows[1:]]
    for number, reading in enumerate(readings, 2):
        wrong = {reading.one, reading.two} - {"", *LABELS}
        wrong |= {reading.things_one, reading.things_two} - {"", YES, NO}
        if wrong:
            raise EvaluationError(f"{path}:{number}: unknown label {min(wrong)!r}")
    return readings


def save(readings: Iterable[Reading], path: Path) -> None:
    """Writes a file of answers."""
    lines = [COLUMNS, *([getattr(reading, name) for name in COLUMNS] for reading in readings)]
    path.write_text("".join("\t".join(line) + "\n" for line in lines), "utf-8")


def format_shares(readings: Sequence[Reading]) -> str:
    """Returns a table of what the readers said, by task and guards, and how often they agree."""
    rows = []
    for task in (SEARCH, PARAPHRASE):
        for guards in (GUARDED, UNGUARDED):
            some = [item for item in readings if (item.task, item.guards) == (task, guards)]
            read = [item for item in some if item.one and item.two]
            if read:
                rows.append([task, guards, f"{len(read)} of {len(some)}", *_shares(read)])
    head = ["task", "guards", "read", *LABELS, "unchanged", "agreement", "kappa", "things apart"]
    return format_table(head, rows, 3)


def _shares(readings: Sequence[Reading]) -> list[str]:
    """Returns the share of each label, by the first and the second reader, and what they share."""
    size = len(readings)
    ones = Counter(reading.one for reading in readings)
    twos = Counter(reading.two for reading in readings)
    agreement = sum(reading.one == reading.two for reading in readings) / size
    expected = sum(ones[label] * twos[label] for label in LABELS) / size**2
    kappa = 1.0 if expected == 1 else (agreement - expected) / (1 - expected)
    unchanged = sum(reading.answer == reading.request for reading in readings)
    apart = [
        [getattr(reading, name) == YES for reading in readings if getattr(reading, name)]
        for name in ("things_one", "things_two")
    ]
    return [
        *(f"{ones[label] / size:.1%} / {twos[label] / size:.1%}" for label in LABELS),
        f"{unchanged / size:.1%}",
        f"{agreement:.1%}",
        f"{kappa:.2f}",
        " / ".join(f"{sum(said)} of {len(said)}" for said in apart),
    ]
