"""Screens what a teacher wrote: which of its rows may teach a smaller model.

A language model of 135 million parameters loses words, answers instead of searching, and turns
comparisons round. The guards of the service, which judge what the small model writes, judge the
teacher first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from itertools import pairwise

from t5gguf.tasks import Preserved
from t5serve.reformulation.guards.lists import ListGuards
from t5train.searches import Row
from t5train.shards import Written
from t5train.words import STOP, content, normal, words

ORIGIN = "teacher/"  # before the origin of a request
SEARCH, PARAPHRASE, QUESTION = "search", "paraphrase", "question"
MIN_LOGPROB = -0.32  # per token; below it more than half of the answers are wrong
PRESERVE: dict[str, tuple[Preserved, ...]] = {
    SEARCH: (
        *("numbers", "quoted", "capitalised", "negation"),
        *("aspects", "rare", "identifiers"),
    ),
    PARAPHRASE: (
        *("numbers", "quoted", "capitalised", "negation"),
        *("content", "rare", "identifiers"),
    ),
    QUESTION: ("numbers", "negation", "keywords", "rare", "identifiers"),
}
MAX_TARGETS = 5
MAX_WORDS = 16  # of a search
MIN_KEPT = 0.5  # of the content words of a request, those that its searches have
DIRECTIONS = frozenset("against before except despite unless until".split())  # noqa: SIM905
MAIN_VERBS = frozenset({"do"})  # at the end of a question
QUESTION_WORDS = frozenset(
    "what who which when where why how is are was were do does did can could should will".split()  # noqa: SIM905
)


def find_fault(row: Written, held_out: Container[str] = frozenset()) -> str | None:
    """Returns why a row must not teach; None if it may.

    Args:
        row: A request and the teacher's answer.
        held_out: Requests that are for measuring, without case and punctuation.
    """
    if normal(row.source) in held_out:
        return "held out"
    if not row.is_ended or not row.targets:
        return "not ended"
    if row.logprob / max(row.tokens, 1) < MIN_LOGPROB:
        return "unlikely"
    if row.task == SEARCH:
        fault = _find_search_fault(row.source, row.targets)
    else:
        fault = _find_rewording_fault(row.task, row.source, row.targets)
    if fault:
        return fault
    return ListGuards(row.source, PRESERVE[row.task]).violation(row.targets)


def keeps_meaning(row: Row) -> bool:
    """Whether the guards of the service would let a composed row's answer through."""
    return ListGuards(row.source, PRESERVE[row.task]).violation(row.targets) is None


def _find_search_fault(source: str, targets: Sequence[str]) -> str | None:
    sizes = [len(words(target)) for target in targets]
    lost = {*normal(source).split()}.difference(*(normal(target).split() for target in targets))
    asked, answered = _stems(source), {stem for target in targets for stem in _stems(target)}
    faults = {
        "length": len(targets) > MAX_TARGETS or min(sizes) == 0 or max(sizes) > MAX_WORDS,
        "repeated": len({normal(target) for target in targets}) < len(targets),
        "stutter": any(_stutters(target, source) for target in targets),
        "direction lost": bool(lost & DIRECTIONS),
        "verb lost": bool(lost & MAIN_VERBS) and normal(source).split()[-1] in MAIN_VERBS,
        "chain": _is_chain(targets),
        "content lost": bool(asked) and len(asked & answered) < MIN_KEPT * len(asked),
    }
    return next((fault for fault, is_there in faults.items() if is_there), None)


def _find_rewording_fault(task: str, source: str, targets: Sequence[str]) -> str | None:
    target = targets[0]
    size = len(words(target))
    is_question = target.rstrip().endswith("?") or {*normal(target).split()[:1]} <= QUESTION_WORDS
    faults = {
        "length": len(targets) != 1 or not 2 <= size <= 2 * len(words(source)) + 6,
        "copy": normal(target) == normal(source),
        "stutter": _stutters(target, source),
        "no question": task == QUESTION and not is_question,
    }
    return next((fault for fault, is_there in faults.items() if is_there), None)


def _stems(text: str) -> set[str]:
    return {word[:4] for word in content(text)}


def _stutters(text: str, source: str) -> bool:
    """Whether a text has a content word more often than its request, or a word twice in a row."""
    lower = normal(text).split()
    said, asked = Counter(lower), Counter(normal(source).split())
    if any(count > max(1, asked[word]) for word, count in said.items() if word not in STOP):
        return True
    return any(left == right for left, right in pairwise(lower))


def _is_chain(targets: Sequence[str]) -> bool:
    """Whether each search begins where the one before ends, as a walk through an ontology does."""
    parts = [normal(target).split() for target in targets]
    return any(
        len(left) > 1 and len(right) > 1 and left[-1] == right[0] and left[0] != right[0]
        for left, right in pairwise(parts)
    )
