"""The interface of every search: takes the logits of running sequences, returns next tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from t5engine.decoding.arithmetic import Arithmetic, NumpyArithmetic
from t5engine.decoding.logprobs import F32, top_indices
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.processors import Processors

FinishReason = Literal["stop", "length"]
StopCondition = Callable[[Sequence[int]], bool]
"""Says of a sequence's token ids whether the sequence ends there, such as at a stop string."""


class Branch(NamedTuple):
    """The continuation of a sequence.

    Attributes:
        parent: index of the continued sequence among the rows of logits just taken.
        token: id of the next token.
    """

    parent: int
    token: int


@dataclass(frozen=True)
class Choice:
    """A decoded token, possibly `</s>`, with log-probabilities of the model's own distribution.

    Log-probabilities are those before any processor, as in transformers'
    `compute_transition_scores` over raw logits.

    Attributes:
        token: id of the token.
        logprob: natural log of the token's probability.
        top: the most probable tokens, as (id, log-probability).
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass
class Hypothesis:
    """A running or finished sequence.

    Attributes:
        choices: all tokens so far.
        score: the search's ranking criterion.
        finish_reason: "stop" after `</s>` or a stop string, "length" at max_tokens; None while
            the sequence is running.
        eos: id of `</s>`.
    """

    choices: list[Choice] = field(default_factory=list)
    score: float = 0.0
    finish_reason: FinishReason | None = None
    eos: int = -1

    @property
    def tokens(self) -> list[int]:
        """Token ids without `</s>`."""
        return [choice.token for choice in self.choices if choice.token != self.eos]

    @property
    def logprob(self) -> float:
        """Sum of the log-probabilities of all tokens, including `</s>`."""
        return sum(choice.logprob for choice in self.choices)

    def extended(self, choice: Choice, score: float) -> Hypothesis:
        """Returns a copy that is longer by one token."""
        return Hypothesis([*self.choices, choice], score, eos=self.eos)


@dataclass(frozen=True)
class Rules:
    """The parameters of a search.

    Attributes:
        config: generation parameters.
        processors: change the scores of the next token.
        eos: id of `</s>`.
        should_stop: ends a sequence early; None: no such condition.
        arithmetic: computes over the vocabulary.
    """

    config: GenerationConfig
    processors: Processors
    eos: int
    should_stop: StopCondition | None = None
    arithmetic: Arithmetic = field(default_factory=NumpyArithmetic)


class Search(Protocol):
    """A search for the sequences of one generation.

    It starts with a single sequence: the decoder's start token.
    """

    def advance(self, logits: Sequence[F32]) -> list[Branch]:
        """Chooses the next tokens.

        Args:
            logits: calibrated logits after each running sequence, (n_vocab,) each, in the order
                of the branches that the previous call returned.

        Returns:
            The continuations of running sequences; empty when the search is over.
        """
        ...

    @property
    def settled(self) -> list[Hypothesis]:
        """The sequences whose tokens are final; running ones may still grow.

        Best first once the search is over.
        """
        ...


def make_choice(
    scores: F32, token: int, top_count: int | None = None, *, log_total: float = 0.0
) -> Choice:
    """Makes the Choice of a token: logprob = scores[token] - log_total.

    Args:
        scores: log-probabilities, or logits, (n_vocab,).
        token: id of the token.
        top_count: number of most probable tokens to report.
        log_total: log_sum_exp of the scores if they are logits.
    """
    alternatives = top_indices(scores, top_count)[:top_count] if top_count else []
    return Choice(
        token,
        float(scores[token]) - log_total,
        tuple((candidate, float(scores[candidate]) - log_total) for candidate in alternatives),
    )


def find_finish_reason(hypothesis: Hypothesis, rules: Rules) -> FinishReason | None:
    """Returns why the sequence ends with its last token; None if the sequence goes on."""
    if hypothesis.choices[-1].token == hypothesis.eos:
        return "stop"
    if rules.should_stop is not None and rules.should_stop(hypothesis.tokens):
        return "stop"
    return "length" if len(hypothesis.choices) == rules.config.max_tokens else None
