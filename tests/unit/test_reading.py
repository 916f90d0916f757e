"""Answers that two people read: what they are asked about, and what is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from t5eval.errors import EvaluationError
from t5eval.messages import Answer, Request
from t5eval.search import reading
from t5eval.search.reading import Reading
from t5gguf.tasks import Task

TASKS = {
    "search": Task(template="search: {query}", separator=" ; ", preserve=["numbers"]),
    "paraphrase": Task(template="paraphrase: {query}", preserve=["numbers"]),
}
READ = Reading("search", "guards", "own", "how tall is big ben", "big ben height")


def shout(requests: Sequence[Request]) -> list[Answer]:
    """A model that shouts where no guard is on."""
    return [
        Answer([request.query if request.options.preserve else request.query.upper()])
        for request in requests
    ]


def test_all_requests_are_asked_with_and_without_guards() -> None:
    """And 100 of them are paraphrased as well; the order says nothing."""
    requests = reading.read_requests()
    readings = reading.ask_all(shout, TASKS, requests, paraphrases=reading.PARAPHRASED)
    counts = Counter((item.task, item.guards) for item in readings)
    assert counts == {
        ("search", "guards"): 200,
        ("search", "no guards"): 200,
        ("paraphrase", "guards"): 100,
        ("paraphrase", "no guards"): 100,
    }
    assert all(
        item.answer == (item.request if item.guards == "guards" else item.request.upper())
        for item in readings
    )
    assert len({item.guards for item in readings[:20]}) == 2


def test_other_requests_are_only_searched_for(tmp_path: Path) -> None:
    """They are not paraphrased."""
    file = tmp_path / "mine.tsv"
    file.write_text("source\trequest\nown\thow tall is big ben\n", "utf-8")
    readings = reading.ask_all(shout, TASKS, reading.read_requests(file))
    assert {item.guards: item.answer for item in readings} == {
        "guards": "how tall is big ben",
        "no guards": "HOW TALL IS BIG BEN",
    }


def test_a_line_without_a_source_is_named(tmp_path: Path) -> None:
    """With its file and number."""
    file = tmp_path / "mine.tsv"
    file.write_text("source\trequest\nhow tall is big ben\n", "utf-8")
    with pytest.raises(EvaluationError, match=r"mine\.tsv:2: expected a source"):
        reading.read_requests(file)


@pytest.mark.parametrize("path", [reading.REQUESTS, reading.EVERYDAY])
def test_requests_are_of_the_sources_that_the_rubric_names(path: Path) -> None:
    """The rubric's tables count them."""
    rubric = (reading.DIRECTORY / "rubric.md").read_text("utf-8")
    counts = Counter(source for source, _ in reading.read_requests(path))
    assert len(counts) >= 6
    for source, count in counts.items():
        assert f"| {source} | {count} |" in rubric


def test_equal_answers_keep_their_labels(tmp_path: Path) -> None:
    """An answer that changed has to be read again."""
    file = tmp_path / "labels.tsv"
    reading.save([replace(READ, one="adequate", two="poor")], file)
    changed = replace(READ, answer="big ben")
    labelled = reading.take_labels([changed, replace(READ, guards="no guards")], reading.load(file))
    assert labelled == [changed, replace(READ, guards="no guards", one="adequate", two="poor")]


def test_shares_are_of_both_readers() -> None:
    """With how often they agree, and how much of that is more than chance."""
    readings = [
        replace(READ, one="adequate", two="adequate", things_one="yes", things_two="no"),
        replace(READ, one="adequate", two="adequate", answer=READ.request),
        replace(READ, one="poor", two="poor"),
        replace(READ, one="harmful", two="poor"),
        replace(READ),
    ]
    row = reading.format_shares(readings).splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        *("search", "guards", "4 of 5", "50.0% / 50.0%", "25.0% / 50.0%", "25.0% / 0.0%"),
        *("25.0%", "75.0%", "0.60", "1 of 1 / 0 of 1"),
    ]


@pytest.mark.parametrize("line", ["search\tguards\town\ta\tb\tgood\t\t\t", "search\tguards"])
def test_unknown_labels_are_refused(line: str, tmp_path: Path) -> None:
    """The error names the file."""
    file = tmp_path / "labels.tsv"
    file.write_text("\t".join(reading.COLUMNS) + "\n" + line + "\n", "utf-8")
    with pytest.raises(EvaluationError, match=r"labels\.tsv"):
        reading.load(file)
