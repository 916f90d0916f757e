"""What a request asks for, and how the model is to decode for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from t5engine.decoding.parameters import (
    BEAMS,
    GROUPS,
    MAX_WIDTH,
    PARAMETERS,
    SAMPLING,
    GenerationConfig,
)
from t5gguf.recipe import GenerationDefaults
from t5serve.errors import InvalidRequest
from t5serve.reformulation.preserve import Kind

Strategy = Literal["auto", "greedy", "beam", "diverse_beam", "sample"]

DEFAULT_TOP_K = 50  # transformers' default
DEFAULT_DIVERSITY_PENALTY = 1.0
DEFAULT_NUM_BEAMS = 4
USUAL_BATCH = 16  # wider ones would wait for a worker that has nothing else


@dataclass(frozen=True)
class Options:
    """What one request asks of every query in it.

    Attributes:
        parameters: of generation, by Hugging Face's names; only those that were given.
        preserve: what of the query a candidate must not lose.
        min_difference: 0 to 1, from the original and from one another.
        strict: no falling back to the original.
    """

    task: str | None = None
    n: int = 1
    strategy: Strategy = "auto"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    include_original: bool = False
    preserve: frozenset[Kind] = frozenset()
    min_difference: float = 0.0
    strict: bool = False
    timeout_ms: int = 10_000

    @property
    def drops(self) -> bool:
        """Whether a candidate may have to make way for the next best."""
        return bool(self.preserve or self.min_difference or self.include_original)


def decoding_of(options: Options, defaults: GenerationDefaults) -> GenerationConfig:
    """Decides how to decode; the model's own defaults count where the request says nothing.

    Raises:
        InvalidRequest: parameters exclude each other, or would have no effect.
    """
    strategy = _strategy(options, defaults)
    _refuse_without_effect(options, strategy)
    parameters = {
        name: value
        for name, value in {**defaults.parameters, **options.parameters}.items()
        if PARAMETERS[name].is_accepted(strategy)
    }
    parameters["max_tokens"] = options.max_tokens or defaults.max_tokens
    if strategy == "sample":
        parameters = {"top_k": DEFAULT_TOP_K, **parameters, "do_sample": True}
        parameters["num_return_sequences"] = _candidates(options)
    elif strategy != "greedy":
        parameters |= _beams(options, strategy, parameters)
    try:
        return GenerationConfig(**parameters)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _strategy(options: Options, defaults: GenerationDefaults) -> Strategy:
    if options.strategy == "greedy" and options.n > 1:
        raise InvalidRequest("greedy gives one reformulation: n must be 1", param="n")
    if options.strategy != "auto":
        return options.strategy
    if (requested := _requested_strategy(options)) is not None:
        return requested
    if defaults.strategy not in ("auto", "greedy"):
        return defaults.strategy
    if options.n > 1:
        return "diverse_beam"
    return "beam" if options.drops else "greedy"


def _requested_strategy(options: Options) -> Strategy | None:
    """The strategy that the request's parameters belong to; None if any strategy has them."""
    requested = {
        PARAMETERS[name].strategies
        for name, value in options.parameters.items()
        if value not in PARAMETERS[name].neutral and not PARAMETERS[name].parameter.accepted_always
    }
    if SAMPLING in requested:
        return "sample"
    if GROUPS in requested or (BEAMS in requested and options.n > 1):
        return "diverse_beam"
    return "beam" if BEAMS in requested else None


def _refuse_without_effect(options: Options, strategy: Strategy) -> None:
    for name, value in options.parameters.items():
        row = PARAMETERS[name]
        if not row.is_accepted(strategy) and value not in row.neutral:
            raise InvalidRequest(f"{name} has no effect with strategy {strategy}", param=name)


def _beams(options: Options, strategy: Strategy, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """How many beams and groups to search, where the request does not say it."""
    num_beams = options.parameters.get("num_beams")
    groups = parameters.get("num_beam_groups")
    if num_beams is not None and num_beams < options.n:
        raise InvalidRequest(f"num_beams must be at least n = {options.n}", param="num_beams")
    if num_beams is not None:
        if "num_beam_groups" not in options.parameters and groups and num_beams % groups:
            groups = None  # the recipe's, which do not fit
    else:
        unit = groups or 1
        num_beams = max(parameters.get("num_beams") or DEFAULT_NUM_BEAMS, _candidates(options))
        num_beams = min(-(-num_beams // unit), MAX_WIDTH // unit) * unit
        if num_beams < options.n and "num_beam_groups" in options.parameters:
            message = f"no multiple of num_beam_groups is from n = {options.n} to {MAX_WIDTH}"
            raise InvalidRequest(message, param="num_beam_groups")
        if num_beams < options.n:
            groups, num_beams = None, _candidates(options)  # the recipe's groups, which do not fit
    chosen: dict[str, Any] = {"num_beams": num_beams, "num_return_sequences": num_beams}
    if strategy == "diverse_beam":
        chosen["num_beam_groups"] = groups or num_beams
        chosen["diversity_penalty"] = parameters.get("diversity_penalty", DEFAULT_DIVERSITY_PENALTY)
    return chosen


def _candidates(options: Options) -> int:
    """Candidates to decode so that n are left when some are dropped.

    Half as many again, and then as many as cost no more: rows are computed in fours.
    """
    if options.n == 1 and not options.drops:
        return 1
    return min(-(-3 * options.n // 8) * 4, max(options.n, USUAL_BATCH))
