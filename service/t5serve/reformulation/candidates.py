"""Selects the decoded sequences that become reformulations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from t5engine.messages import Output
from t5serve.reformulation.options import Options
from t5serve.reformulation.preserve import Constraints
from t5serve.reformulation.text import clean, difference, fold, has_loop, words

SENTINEL = "<extra_id_"


@dataclass(frozen=True)
class Reformulation:
    """A selected candidate.

    Attributes:
        score: the log-probability per decoded token; None for the original query.
        rank: from 1, best first.
        tokens: the number of tokens; 0 for the original query.
    """

    text: str
    score: float | None
    rank: int
    tokens: int
    source: Literal["model", "original"]


def original_candidate(query: str) -> Reformulation:
    """Returns the query itself as the first reformulation."""
    return Reformulation(query, None, 1, 0, "original")


def select_candidates(
    query: str, outputs: Sequence[Output], options: Options
) -> list[Reformulation]:
    """Returns the best n outputs that are usable, distinct and satisfy the constraints.

    An output that equals the query is returned only if no other output is selected, or if n
    is 1 and it is the best output. `include_original` and `min_difference` always exclude it.

    Args:
        query: the query, without a prefix.
        outputs: the decoded sequences, best first.
        options: n, and the constraints on candidates.
    """
    selected: list[Output] = []
    folded_query = fold(query)
    seen = {folded_query}
    echo: Output | None = None
    earlier_words = [words(query)]
    query_has_loop = has_loop(earlier_words[0])
    constraints = Constraints(query, options.preserve)
    for output in outputs:
        if len(selected) == options.n:
            break
        text = clean(output.text)
        output_words = words(text)
        if not output_words or SENTINEL in text or (has_loop(output_words) and not query_has_loop):
            continue
        if not constraints.satisfied_by(text):
            continue
        folded = fold(text)
        if folded in seen:
            if folded == folded_query and echo is None:
                echo = output
            continue
        minimum = options.min_difference
        differences = (difference(output_words, earlier) for earlier in earlier_words)
        if minimum and any(value < minimum for value in differences):
            continue
        selected.append(output)
        seen.add(folded)
        earlier_words.append(output_words)
    first = [original_candidate(query)] if options.include_original else []
    # A model that ranks the query first prefers to leave the query alone.
    prefers_echo = not selected or (options.n == 1 and outputs[0] is echo)
    if echo and prefers_echo and not (options.include_original or options.min_difference):
        selected = [echo]
    return [
        *first,
        *(_reformulation(output, len(first) + i) for i, output in enumerate(selected, 1)),
    ]


def _reformulation(output: Output, rank: int) -> Reformulation:
    return Reformulation(
        text=clean(output.text),
        score=output.logprob / output.decoded,
        rank=rank,
        tokens=len(output.tokens),
        source="model",
    )
