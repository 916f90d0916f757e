"""Which of the decoded sequences become reformulations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from t5engine.messages import Output
from t5serve.reformulation.options import Options
from t5serve.reformulation.preserve import Kept
from t5serve.reformulation.text import clean, difference, fold, repeats, words

SENTINEL = "<extra_id_"


@dataclass(frozen=True)
class Reformulation:
    """One candidate; score is its length-normalised log-probability, None for the original."""

    text: str
    score: float | None
    rank: int
    tokens: int
    source: Literal["model", "original"]


def original(query: str) -> Reformulation:
    """The query itself, as the first of its reformulations."""
    return Reformulation(query, None, 1, 0, "original")


def select(query: str, outputs: Sequence[Output], options: Options) -> list[Reformulation]:
    """The best n that are usable, distinct and keep what they must; best first.

    One that is the query itself counts only if it is all there is, and nothing else was asked for.

    Args:
        query: what was asked, without a prefix.
        outputs: best first.
        options: n, and what the candidates must fulfil.
    """
    taken: list[Output] = []
    asked = fold(query)
    seen = {asked}
    echo: Output | None = None
    near = [words(query)]
    may_repeat = repeats(near[0])
    kept = Kept(query, options.preserve)
    for output in outputs:
        if len(taken) == options.n:
            break
        text = clean(output.text)
        own = words(text)
        if not own or SENTINEL in text or (repeats(own) and not may_repeat):
            continue
        if not kept.by(text):
            continue
        folded = fold(text)
        if folded in seen:
            if folded == asked and echo is None:
                echo = output
            continue
        least = options.min_difference
        if least and any(difference(own, other) < least for other in near):
            continue
        taken.append(output)
        seen.add(folded)
        near.append(own)
    first = [original(query)] if options.include_original else []
    # Of a model that would rather leave a query alone, the one answer is the query.
    preferred = not taken or (options.n == 1 and outputs[0] is echo)
    if echo and preferred and not (options.include_original or options.min_difference):
        taken = [echo]
    return [
        *first,
        *(_reformulation(output, len(first) + i) for i, output in enumerate(taken, 1)),
    ]


def _reformulation(output: Output, rank: int) -> Reformulation:
    return Reformulation(
        text=clean(output.text),
        score=output.logprob / output.decoded,
        rank=rank,
        tokens=len(output.tokens),
        source="model",
    )
