"""Answers that were read: what two readers said of them, and what of it still comes back."""

from __future__ import annotations

import csv
import math
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from t5eval.messages import Answer
from t5eval.report import format_table
from t5eval.text_metrics import mean

DIRECTORY = Path(__file__).parent
SEVERAL = 4  # answers per query
GOOD, POOR, HARMFUL = "good", "poor", "harmful"

Pair = tuple[str, str]
"""What the two readers said of one answer."""


def read_domains(directory: Path = DIRECTORY) -> dict[str, list[str]]:
    """Returns the queries by kind of search."""
    return tomllib.loads((directory / "domains.toml").read_text("utf-8"))


def read_labels(directory: Path = DIRECTORY) -> dict[tuple[str, str, str], Pair]:
    """Returns the two labels of an answer by task, query and answer."""
    with (directory / "labels.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {(task, query, answer): (one, two) for task, query, answer, one, two in rows[1:]}


def judge_task(
    task: str,
    queries: Sequence[str],
    answers: Iterable[Answer],
    labels: Mapping[tuple[str, str, str], Pair],
) -> dict[str, Any]:
    """Returns how many of a task's answers readers called good, poor or harmful.

    A label counts half for each reader. Answers that nobody read are counted apart.
    """
    counts: Counter[str] = Counter()
    changed = usable = unread = 0
    harmful = []
    for query, answer in zip(queries, answers, strict=True):
        if answer.fell_back or answer.unchanged_reason is not None:
            continue
        changed += 1
        pairs = [labels.get((task, query, text)) for text in answer.texts]
        unread += pairs.count(None)
        for text, pair in zip(answer.texts, pairs, strict=True):
            counts.update(pair or ())
            harmful += [f"{query} -> {text}"] * (pair is not None and HARMFUL in pair)
        usable += (GOOD, GOOD) in pairs
    return {
        "task": task,
        "queries": len(queries),
        "changed": changed,
        "usable": usable,
        "answers": counts.total() // 2,
        "unread": unread,
        "labels": {label: counts[label] / 2 for label in (GOOD, POOR, HARMFUL)},
        "harmful": harmful,
    }


def judge_scores(
    floor: float | None,
    queries: Sequence[str],
    answers: Iterable[Answer],
    labels: Mapping[tuple[str, str], Pair],
) -> dict[str, Any]:
    """Returns how well the scores of labelled answers tell good from other ones.

    Args:
        floor: The least score of the task's recipe.
        queries: The queries.
        answers: Their answers of any score.
        labels: The two labels by query and answer.

    Returns:
        The count of answers, the AUC of good (by both readers) against the others, and the shares
        of the good and the harmful ones with a score under the floor; None without such answers.
    """
    scores: dict[str, list[float]] = {GOOD: [], POOR: [], HARMFUL: []}
    for query, answer in zip(queries, answers, strict=True):
        for text, score in zip(answer.texts, answer.scores, strict=True):
            pair = labels.get((query, text))
            if pair is not None and score is not None:
                worst = max(pair, key=(GOOD, POOR, HARMFUL).index)
                scores[worst].append(score)
    others = scores[POOR] + scores[HARMFUL]
    wins = [(good > other) + (good == other) / 2 for good in scores[GOOD] for other in others]
    least = -math.inf if floor is None else floor
    dropped = {label: mean(score < least for score in scores[label]) for label in (GOOD, HARMFUL)}
    return {"answers": len(scores[GOOD]) + len(others), "auc": mean(wins), "dropped": dropped}


def agreement(pairs: Iterable[Pair]) -> tuple[float, float]:
    """Returns the share of equal labels, and Cohen's kappa."""
    pairs = list(pairs)
    equal = sum(first == second for first, second in pairs) / len(pairs)
    firsts, seconds = (Counter(pair[reader] for pair in pairs) for reader in (0, 1))
    by_chance = sum(firsts[label] * seconds[label] for label in firsts) / len(pairs) ** 2
    return equal, (equal - by_chance) / (1 - by_chance)


def format_reading(reading: Mapping[str, Any]) -> str:
    """Returns the table of all tasks, and the answers that were harmful."""
    head = ["task", "queries", "changed", "with a good answer", "labelled answers"]
    rows = []
    for row in reading["tasks"]:
        read = max(1, row["answers"])
        counts = [row["queries"], row["changed"], row["usable"], row["answers"]]
        shares = [f"{100 * count / read:.1f} %" for count in row["labels"].values()]
        rows.append([f"`{row['task']}`", *map(str, counts), *shares, str(row["unread"])])
    harmful = [pair for row in reading["tasks"] for pair in row["harmful"]]
    return "\n\n".join(
        [
            format_table([*head, GOOD, POOR, HARMFUL, "unlabelled"], rows, 1),
            _describe_readers(reading),
            f"Answers that at least one reader called harmful: {len(harmful)}.",
            *(["\n".join(f"- {pair}" for pair in harmful)] if harmful else []),
        ]
    )


def format_scores(reading: Mapping[str, Any]) -> str:
    """Returns the table of what scores tell, and of all labelled answers."""
    head = ["task", "with a score", "AUC", "good ones dropped", "harmful ones dropped"]
    head += ["all labelled", "harmful of all labelled"]
    rows = []
    for row in reading["scores"]:
        total, harmful = reading["all labelled"].get(row["task"], (0, None))
        auc = "" if row["auc"] is None else f"{row['auc']:.2f}"
        dropped = [_share(row["dropped"][label]) for label in (GOOD, HARMFUL)]
        cells = [str(row["answers"]), auc, *dropped, str(total), _share(harmful)]
        rows.append([f"`{row['task']}`", *cells])
    return format_table(head, rows, 1)


def count_harmful(
    labels: Mapping[tuple[str, str, str], Pair],
) -> dict[str, tuple[int, float | None]]:
    """Returns, by task, how many answers have labels, and the share of harmful labels."""
    counts: dict[str, Counter[str]] = {}
    for (task, _, _), pair in labels.items():
        counts.setdefault(task, Counter()).update(pair)
    return {
        task: (count.total() // 2, count[HARMFUL] / count.total()) for task, count in counts.items()
    }


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _describe_readers(reading: Mapping[str, Any]) -> str:
    equal, kappa = f"{100 * reading['agreement']:.1f} %", f"{reading['kappa']:.2f}"
    return (
        f"{reading['labelled']} answers have a label from each reader. This number covers every "
        "label that was ever given, also labels of answers by earlier models, and of a task that "
        f"the model no longer has. The readers gave the same label to {equal} of the answers "
        f"(kappa {kappa}; 0 is the agreement of chance, 1 is full agreement)."
    )
