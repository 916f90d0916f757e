"""The options of a request, and the decoding parameters that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from t5engine.decoding.parameters import (
    BEAMS,
    GROUPS,
    MAX_WIDTH,
    PARAMETERS,
    SAMPLING,
    GenerationConfig,
    ParameterError,
)
from t5gguf.recipe import GenerationDefaults
from t5gguf.tasks import Preserved, Task
from t5serve.errors import InvalidRequest

Strategy = Literal["auto", "greedy", "beam", "diverse_beam", "sample"]

OPEN = ("auto", "greedy")  # a model's strategies that leave the choice to the request
DEFAULT_TOP_K = 50  # transformers' default
DEFAULT_DIVERSITY_PENALTY = 1.0
DEFAULT_NUM_BEAMS = 4
USUAL_BATCH = 16  # a wider request waits for a worker without other jobs


@dataclass(frozen=True)
class Options:
    """The options of one request; they apply to each of its queries.

    Attributes:
        n: the most reformulations of each query.
        separator: text at which a decoded sequence is split into several reformulations; "": none.
        wants_more: with a separator, whether further sequences are decoded, in case the best one
            has fewer than `n` queries.
        parameters: the generation parameters that the request sets, by Hugging Face's names.
        default_num_beams: the beams of a request that sets none; None: as the strategy needs.
        preserve: the parts of the query that a candidate must contain.
        terms: words and phrases that every candidate must contain.
        history: the earlier turns of the conversation, oldest first.
        min_score: the least score of a candidate; None: any.
        corrects: whether candidates that are less likely than the query are dropped.
        leaves_alone: whether the task's queries that are better left alone are left alone; not
            so in a request that turns the guards off.
        min_difference: the least difference between any two of the query and the candidates,
            0 to 1.
        strict: whether a failure is an error instead of a fallback to the original query.
        cache: whether results may come from a cache and go there.
        for_keywords: the options for queries of keywords, if they have a task of their own.
    """

    task: str | None = None
    n: int = 1
    separator: str = ""
    wants_more: bool = False
    strategy: Strategy = "auto"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    include_original: bool = False
    default_num_beams: int | None = None
    preserve: frozenset[Preserved] = frozenset()
    terms: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    min_score: float | None = None
    corrects: bool = False
    leaves_alone: bool = True
    min_difference: float = 0.0
    strict: bool = False
    cache: bool = True
    timeout_ms: int = 10_000
    for_keywords: Options | None = None

    @classmethod
    def for_task(cls, defaults: Task, /, **options: Any) -> Self:  # noqa: ANN401 - any field
        """Builds options in which the task's defaults stand for what is absent or None.

        Raises:
            InvalidRequest: an option has no meaning for the task.
        """
        values = {
            "n": defaults.n,
            "separator": defaults.separator,
            "wants_more": options.get("n") is not None,
            "default_num_beams": defaults.num_beams,
            "preserve": frozenset(defaults.preserve),
            "min_score": defaults.min_score,
            "corrects": defaults.corrects,
        }
        requested = {name: value for name, value in options.items() if value is not None}
        _refuse_meaningless(defaults, requested)
        if requested.get("preserve") == frozenset():  # guards off: whatever the model says
            values |= {"leaves_alone": False, "min_score": None}
        return cls(**{**values, **requested})

    @property
    def sequences(self) -> int:
        """The decoded sequences that reformulations are taken from, at most."""
        if not self.separator:
            return self.n
        if not self.wants_more or self.strategy == "greedy":
            return 1
        return min(self.n, self.parameters.get("num_beams") or self.n)

    @property
    def tries_greedy(self) -> bool:
        """Whether one sequence that guards allow is enough, however it was found."""
        is_open = self.strategy == "auto" and not self.parameters
        return is_open and self.sequences == 1 and self.is_guarded and not self.corrects

    @property
    def is_guarded(self) -> bool:
        """Whether candidates are checked against the query."""
        return bool(self.preserve or self.terms)

    @property
    def can_drop(self) -> bool:
        """Whether a candidate can be dropped, so that the next best must replace it."""
        return bool(
            self.is_guarded
            or self.min_difference
            or self.include_original
            or self.min_score is not None
            or self.corrects
        )


def _refuse_meaningless(task: Task, requested: Mapping[str, Any]) -> None:
    """Refuses options that a task's template leaves without a meaning."""
    if requested.get("history") and not task.takes_history:
        raise InvalidRequest(
            "history has no place in this task: its template has no {history}", param="history"
        )
    for name in ("preserve", "include_original"):
        if requested.get(name) and task.takes_document:
            raise InvalidRequest(
                f"{name} compares with a query, but this task takes a document", param=name
            )


def decoding_of(options: Options, defaults: GenerationDefaults) -> GenerationConfig:
    """Builds the decoding parameters; the model's defaults apply where the request sets none.

    Raises:
        InvalidRequest: parameters exclude each other, or would have no effect.
    """
    strategy = _choose_strategy(options, defaults)
    _refuse_unused_parameters(options, strategy)
    parameters = {
        name: value
        for name, value in {**defaults.parameters, **options.parameters}.items()
        if PARAMETERS[name].is_accepted(strategy)
    }
    parameters["max_tokens"] = options.max_tokens or defaults.max_tokens
    if options.separator:
        parameters["top_logprobs"] = 0  # the text of each token, which says whose it is
    if strategy == "sample":
        parameters = {"top_k": DEFAULT_TOP_K, **parameters, "do_sample": True}
        parameters["num_return_sequences"] = _count_candidates(options)
    elif strategy != "greedy":
        parameters |= _beam_parameters(options, strategy, parameters)
    try:
        return GenerationConfig(**parameters)
    except ParameterError as error:
        raise InvalidRequest(str(error), param=error.parameter) from error


def searches_of(options: Options, defaults: GenerationDefaults) -> tuple[GenerationConfig, ...]:
    """Builds the decoding parameters of a request's searches, in the order in which they are tried.

    Beams are there for what guards drop, and for greedy sequences that are not sure.

    Raises:
        InvalidRequest: as for `decoding_of`.
    """
    config = decoding_of(options, defaults)
    if config.num_beams == 1 or not options.tries_greedy or defaults.strategy not in OPEN:
        return (config,)
    return decoding_of(replace(options, strategy="greedy"), defaults), config


def _choose_strategy(options: Options, defaults: GenerationDefaults) -> Strategy:
    if options.strategy == "greedy" and options.sequences > 1:
        raise InvalidRequest("greedy gives one reformulation; n must be 1", param="n")
    if options.strategy != "auto":
        return options.strategy
    if (requested := _requested_strategy(options)) is not None:
        return requested
    if defaults.strategy not in OPEN:
        return defaults.strategy
    if options.sequences > 1 and not options.separator:  # a list is diverse by itself
        return "diverse_beam"
    return "beam" if options.can_drop or options.sequences > 1 else "greedy"


def _requested_strategy(options: Options) -> Strategy | None:
    """Returns the strategy that the request's parameters imply; None if every strategy fits."""
    requested = {
        PARAMETERS[name].strategies
        for name, value in options.parameters.items()
        if value not in PARAMETERS[name].neutral and not PARAMETERS[name].parameter.accepted_always
    }
    if SAMPLING in requested:
        return "sample"
    is_diverse = options.sequences > 1 and not options.separator
    if GROUPS in requested or (BEAMS in requested and is_diverse):
        return "diverse_beam"
    return "beam" if BEAMS in requested else None


def _refuse_unused_parameters(options: Options, strategy: Strategy) -> None:
    for name, value in options.parameters.items():
        row = PARAMETERS[name]
        if not row.is_accepted(strategy) and value not in row.neutral:
            raise InvalidRequest(f"{name} has no effect with strategy {strategy}", param=name)


def _beam_parameters(
    options: Options, strategy: Strategy, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Chooses the number of beams and groups that the request leaves open."""
    num_beams = options.parameters.get("num_beams")
    groups = parameters.get("num_beam_groups")
    if num_beams is not None and num_beams < options.sequences:
        raise InvalidRequest(f"num_beams must be at least n = {options.n}", param="num_beams")
    if num_beams is not None:
        if "num_beam_groups" not in options.parameters and groups and num_beams % groups:
            groups = None  # the recipe's groups do not divide the beams
    else:
        unit = groups or 1
        usual = parameters.get("num_beams") or options.default_num_beams or DEFAULT_NUM_BEAMS
        num_beams = max(usual, _count_candidates(options))
        num_beams = min(-(-num_beams // unit), MAX_WIDTH // unit) * unit
        if num_beams < options.sequences and "num_beam_groups" in options.parameters:
            message = f"num_beam_groups has no multiple from n = {options.n} to {MAX_WIDTH}"
            raise InvalidRequest(message, param="num_beam_groups")
        if num_beams < options.sequences:
            groups, num_beams = None, _count_candidates(options)  # the recipe's groups do not fit
    search: dict[str, Any] = {"num_beams": num_beams, "num_return_sequences": num_beams}
    if strategy == "diverse_beam":
        search["num_beam_groups"] = groups or num_beams
        search["diversity_penalty"] = parameters.get("diversity_penalty", DEFAULT_DIVERSITY_PENALTY)
    return search


def _count_candidates(options: Options) -> int:
    """Returns the number of candidates to decode so that n remain when some are dropped.

    This is 1.5 n, rounded up to a multiple of four because rows are computed in fours, and at
    most a usual batch. Guards drop most candidates: where several are wanted it is a whole batch.
    Where a sequence has several reformulations, n sequences are enough.
    """
    needed = options.sequences
    if needed == 1 and not options.can_drop:
        return 1
    most = max(needed, USUAL_BATCH)
    if needed > 1 and options.is_guarded:
        return most
    return min(-(-3 * needed // 8) * 4, most)
