"""Selects the decoded sequences that become reformulations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, Self

from rapidfuzz.distance import OSA

from t5engine.messages import Output
from t5serve.reformulation.guards.guards import Guards
from t5serve.reformulation.lexicon import EMPTY, Lexicon
from t5serve.reformulation.options import Options
from t5serve.reformulation.text import (
    clean,
    difference,
    fold,
    fold_sentence,
    has_loop,
    words,
)

SENTINEL = "<extra_id_"
MAX_LETTERS = 4  # that a correction adds, leaves out or changes; the speller has been before it
MIN_GAIN = 5.0  # nats of log-probability by which a correction has to beat the query itself

UnchangedReason = Literal[
    "already_good", "language", "code", "identifier", "name", "guard", "too_long_to_rewrite"
]
"""Why the query itself is the best answer."""


@dataclass(frozen=True)
class Reformulation:
    """A selected candidate.

    Attributes:
        score: what ranks candidates; None for the original query.
        model_score: the log-probability per decoded token; None for the original query.
        rank: from 1, best first.
        tokens: the number of tokens; 0 for the original query.
    """

    text: str
    score: float | None
    model_score: float | None
    rank: int
    tokens: int
    source: Literal["model", "original"]


@dataclass(frozen=True)
class Selection:
    """The reformulations of one query.

    Attributes:
        reformulations: best first; empty if the model gave no usable text.
        unchanged_reason: why the query itself is the only result; None if the query was changed.
    """

    reformulations: list[Reformulation]
    unchanged_reason: UnchangedReason | None = None


@dataclass(frozen=True)
class Candidate:
    """The text of a decoded sequence, or a part of it, with the forms in which it is compared.

    Attributes:
        output: the sequence.
        tokens: the number of tokens of the text.
    """

    output: Output
    text: str
    folded: str
    words: list[str]
    tokens: int

    @classmethod
    def build(
        cls, output: Output, text: str, tokens: int, fold: Callable[[str], str] = fold_sentence
    ) -> Self:
        """Cleans a text, and computes its forms; texts with equal folded forms are the same."""
        text = clean(text)
        return cls(output, text, fold(text), words(text), tokens)

    @property
    def score(self) -> float:
        """The log-probability per decoded token of the sequence."""
        return self.output.logprob / self.output.decoded


def is_usable(text: str, query: str) -> bool:
    """Whether a text is not blank, and has no sentinel and no loop that the query lacks."""
    text_words = words(text)
    if not text_words or SENTINEL in text:
        return False
    return not has_loop(text_words) or has_loop(words(query))


def original_candidate(query: str) -> Reformulation:
    """Returns the query itself as the first reformulation."""
    return Reformulation(query, None, None, 1, 0, "original")


def leave_unchanged(query: str, reason: UnchangedReason) -> Selection:
    """Returns the query itself, with the reason."""
    return Selection([original_candidate(query)], reason)


def return_echo(query: str, echo: Candidate, reason: UnchangedReason) -> Selection:
    """Returns the query as it was typed, with blanks collapsed and the score of its echo."""
    (reformulation,) = rank_candidates([echo])
    return Selection([replace(reformulation, text=clean(query))], reason)


def keep_corrected(
    original: str, corrected: str, selection: Selection, *, include_original: bool
) -> Selection:
    """Returns the selection for a corrected query as one for the original query.

    If the model has no other text, the corrected query is a change by itself.
    """
    found = [one for one in selection.reformulations if one.source != "original"]
    if selection.unchanged_reason is not None or not found:
        kept = next(iter(selection.reformulations), original_candidate(corrected))
        found = [replace(kept, text=corrected, source="model")]
    first = [original_candidate(original)] if include_original else []
    ranked = [replace(one, rank=rank) for rank, one in enumerate(found, len(first) + 1)]
    return Selection([*first, *ranked])


def select_candidates(
    query: str, outputs: Sequence[Output], options: Options, lexicon: Lexicon = EMPTY
) -> Selection:
    """Returns the best n outputs that are usable, distinct and pass the guards.

    An output that equals the query (an echo) is returned only if no other output is selected, or
    if it is the best output and either n is 1 or the task corrects. `include_original` and
    `min_difference` always exclude it. Case and spaces make no difference, and sentence punctuation
    makes one only if the task corrects.

    Args:
        query: the query, without a prefix.
        outputs: the decoded sequences, best first.
        options: n, and what candidates must satisfy.
        lexicon: words that count as spelled correctly.
    """
    folding = fold if options.corrects else fold_sentence  # punctuation may be the correction
    built = [Candidate.build(one, one.text, len(one.tokens), folding) for one in outputs]
    candidates = [candidate for candidate in built if is_usable(candidate.text, query)]
    if options.is_guarded:  # by score: the search may rank by other criteria
        candidates.sort(key=lambda candidate: -candidate.score)
    folded_query = folding(query)
    echo = next((one for one in candidates if one.folded == folded_query), None)
    if options.corrects and echo is not None:
        candidates = [one for one in candidates if one is echo or _beats(one, echo, options)]
    best = candidates[0].output if options.is_guarded and candidates else next(iter(outputs), None)
    is_echo_best = echo is not None and echo.output is best
    may_echo = echo is not None and not (options.include_original or options.min_difference)
    if echo is not None and may_echo and is_echo_best and (options.n == 1 or options.corrects):
        return return_echo(query, echo, "already_good")
    changed = [candidate for candidate in candidates if candidate.folded != folded_query]
    allowed: list[Candidate] = []
    passing = _collect(_allowed(query, changed, options, lexicon), allowed)
    # Lazily: guards take as long as the way to the worker and back, and the first may be enough.
    selected = list(islice(select_distinct(query, passing, options), options.n))
    if echo is not None and may_echo and not selected:
        return return_echo(query, echo, "guard" if changed else "already_good")
    if not selected:
        if candidates and len(allowed) < len(changed):
            return leave_unchanged(query, "guard")
        return Selection([])
    selected.sort(key=lambda candidate: -candidate.score)
    first = [original_candidate(query)] if options.include_original else []
    return Selection([*first, *rank_candidates(selected, len(first) + 1)])


def _beats(candidate: Candidate, echo: Candidate, options: Options) -> bool:
    """Whether the model prefers a candidate to the query; with guards it must do so clearly."""
    if not options.is_guarded:
        return candidate.score >= echo.score
    return candidate.output.logprob - echo.output.logprob >= MIN_GAIN


def _corrects_spelling(query: str, candidate: Candidate) -> bool:
    """Whether a candidate changes words by a few letters, and not only the punctuation."""
    is_near = OSA.distance(fold(query), candidate.folded, score_cutoff=MAX_LETTERS) <= MAX_LETTERS
    return is_near and candidate.words != words(query)


def _collect(candidates: Iterable[Candidate], collected: list[Candidate]) -> Iterator[Candidate]:
    """Yields candidates, and adds each to a list when it is taken."""
    for candidate in candidates:
        collected.append(candidate)
        yield candidate


def _allowed(
    query: str, candidates: Sequence[Candidate], options: Options, lexicon: Lexicon
) -> Iterator[Candidate]:
    """Yields the candidates that score enough and pass the guards."""
    guards = Guards(query, options.preserve, options.terms, lexicon, options.history)
    is_correction = options.corrects and bool(options.preserve)
    right = lexicon.count_known(words(query)) if is_correction else Counter()
    for candidate in candidates:
        if options.min_score is not None and candidate.score < options.min_score:
            continue
        if is_correction and not _corrects_spelling(query, candidate):
            continue
        if right - Counter(candidate.words):
            continue  # a correction must keep words that the collection contains
        if guards.violation(candidate.text) is None:
            yield candidate


def select_distinct(
    query: str, candidates: Iterable[Candidate], options: Options
) -> Iterator[Candidate]:
    """Yields the candidates that differ from the query and from each other by enough."""
    seen: set[str] = set()
    earlier_words = [words(query)]
    for candidate in candidates:
        differences = (difference(candidate.words, earlier) for earlier in earlier_words)
        minimum = options.min_difference
        if candidate.folded in seen or (minimum and min(differences) < minimum):
            continue
        seen.add(candidate.folded)
        earlier_words.append(candidate.words)
        yield candidate


def rank_candidates(candidates: Iterable[Candidate], start: int = 1) -> list[Reformulation]:
    """Returns candidates as reformulations, with ranks in their order."""
    return [
        Reformulation(
            text=candidate.text,
            score=candidate.score,
            model_score=candidate.score,
            rank=rank,
            tokens=candidate.tokens,
            source="model",
        )
        for rank, candidate in enumerate(candidates, start)
    ]
