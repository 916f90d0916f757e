"""What every strategy has in common: logits of the running sequences in, their next tokens out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from t5engine.decoding.logprobs import F32, best
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.processors import Processors

FinishReason = Literal["stop", "length"]
Ends = Callable[[Sequence[int]], bool]
"""Whether a sequence is over for a reason that the search does not know: a stop string."""


class Branch(NamedTuple):
    """How one sequence goes on: which of those just decoded it continues, and its next token."""

    parent: int
    token: int


@dataclass(frozen=True)
class Choice:
    """One decoded token, `</s>` included, by the model's own distribution.

    Attributes:
        token: its id.
        logprob: natural log of its probability, nothing processed, as in transformers'
            `compute_transition_scores` over raw logits.
        top: the most probable ids with theirs.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass
class Hypothesis:
    """A sequence, running or over.

    Attributes:
        choices: every token so far.
        score: what the search ranks it by.
        finish_reason: "stop" after `</s>` or a stop string, "length" at max_tokens, None before.
    """

    choices: list[Choice] = field(default_factory=list)
    score: float = 0.0
    finish_reason: FinishReason | None = None
    eos: int = -1

    @property
    def tokens(self) -> list[int]:
        """The ids without `</s>`."""
        return [choice.token for choice in self.choices if choice.token != self.eos]

    @property
    def logprob(self) -> float:
        """Sum over all tokens, `</s>` included."""
        return sum(choice.logprob for choice in self.choices)

    def extended(self, choice: Choice, score: float) -> Hypothesis:
        """Another one, longer by a token."""
        return Hypothesis([*self.choices, choice], score, eos=self.eos)


@dataclass(frozen=True)
class Rules:
    """What a search goes by: how to choose, what may not come out, and what ends a sequence."""

    config: GenerationConfig
    processors: Processors
    eos: int
    ends: Ends | None = None


class Search(Protocol):
    """One generation on its way. It starts with one sequence: the decoder's start token."""

    def advance(self, logits: Sequence[F32]) -> list[Branch]:
        """Takes the logits after each running sequence; how they go on, none when it is over.

        Args:
            logits: calibrated, (n_vocab,) each, in the order of the last branches.
        """
        ...

    @property
    def settled(self) -> list[Hypothesis]:
        """The sequences that can only grow, best first once it is over."""
        ...


def choose(scores: F32, token: int, top: int | None = None, *, log_total: float = 0.0) -> Choice:
    """A token with its log-probability, and so many of the most probable ones with theirs.

    Args:
        scores: log-probabilities; or logits, (n_vocab,).
        token: its id.
        top: how many others.
        log_total: natural log of the sum of the exponentials of logits.
    """
    alternatives = best(scores, top)[:top] if top else []
    return Choice(
        token,
        float(scores[token]) - log_total,
        tuple((place, float(scores[place]) - log_total) for place in alternatives),
    )


def finish_reason(hypothesis: Hypothesis, rules: Rules) -> FinishReason | None:
    """Why a sequence is over after its last token; None if it isn't."""
    if hypothesis.choices[-1].token == hypothesis.eos:
        return "stop"
    if rules.ends is not None and rules.ends(hypothesis.tokens):
        return "stop"
    return "length" if len(hypothesis.choices) == rules.config.max_tokens else None
