"""What a request asks for, and how the model is to decode for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from t5engine.decoding.config import MAX_WIDTH, GenerationConfig
from t5gguf.recipe import Generation
from t5serve.errors import InvalidRequest
from t5serve.reformulation.preserve import Kind

Strategy = Literal["auto", "greedy", "beam", "diverse_beam", "sample"]

NEUTRAL: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "num_beams": (1,),
        "num_beam_groups": (1,),
        "length_penalty": (1,),
        "diversity_penalty": (0,),
        "temperature": (0, 1),
        "top_k": (0,),
        "top_p": (1,),
        "min_p": (0,),
    }
)
"""Parameters of some strategies only, and the values at which they are as good as absent."""
SAMPLING = ("temperature", "top_k", "top_p", "min_p")
BEAMS = ("num_beams", "length_penalty")
GROUPS = ("num_beam_groups", "diversity_penalty")
BELONGS: Mapping[Strategy, tuple[str, ...]] = MappingProxyType(
    {"greedy": (), "sample": SAMPLING, "beam": BEAMS, "diverse_beam": (*BEAMS, *GROUPS)}
)
ANYWHERE = ("repetition_penalty", "no_repeat_ngram_size")
PARAMETERS = (*SAMPLING, *BEAMS, *GROUPS, *ANYWHERE, "seed")
TOP_K = 50  # transformers' default
DIVERSITY_PENALTY = 1.0
NUM_BEAMS = 4
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


def decoding_of(options: Options, defaults: Generation) -> GenerationConfig:
    """How to decode, the model's own defaults standing in for what was not given.

    Raises:
        InvalidRequest: parameters that exclude each other, or that would have no effect.
    """
    strategy = _strategy(options, defaults)
    _refuse_idle(options, strategy)
    own = {
        name: value
        for name in (*BELONGS[strategy], *ANYWHERE)
        if (value := getattr(defaults, name)) is not None
    }
    wanted = {**own, **options.parameters}
    wanted = {
        name: value
        for name, value in wanted.items()
        if name not in NEUTRAL or name in BELONGS[strategy]
    }
    wanted["max_tokens"] = options.max_tokens or defaults.max_tokens
    if strategy == "sample":
        wanted = {"top_k": TOP_K, **wanted, "do_sample": True}
        wanted["num_return_sequences"] = _supply(options)
    elif strategy != "greedy":
        wanted |= _beams(options, strategy, wanted)
    try:
        return GenerationConfig(**wanted)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _strategy(options: Options, defaults: Generation) -> Strategy:
    if options.strategy == "greedy" and options.n > 1:
        raise InvalidRequest("greedy gives one reformulation: n must be 1", param="n")
    if options.strategy != "auto":
        return options.strategy
    given = {
        name
        for name, value in options.parameters.items()
        if name in NEUTRAL and value not in NEUTRAL[name]
    }
    rules: tuple[tuple[tuple[str, ...], Strategy], ...] = (
        (SAMPLING, "sample"),
        (GROUPS, "diverse_beam"),
        (BEAMS, "diverse_beam" if options.n > 1 else "beam"),
    )
    for names, strategy in rules:
        if given.intersection(names):
            return strategy
    if defaults.strategy not in ("auto", "greedy"):
        return defaults.strategy
    if options.n > 1:
        return "diverse_beam"
    return "beam" if options.drops else "greedy"


def _refuse_idle(options: Options, strategy: Strategy) -> None:
    for name, value in options.parameters.items():
        if name in NEUTRAL and name not in BELONGS[strategy] and value not in NEUTRAL[name]:
            raise InvalidRequest(f"{name} has no effect with strategy {strategy}", param=name)


def _beams(options: Options, strategy: Strategy, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """How many beams and groups, where it was not said."""
    given = options.parameters.get("num_beams")
    groups = wanted.get("num_beam_groups")
    if given is not None and given < options.n:
        raise InvalidRequest(f"num_beams must be at least n = {options.n}", param="num_beams")
    if given is not None:
        beams = given
        if "num_beam_groups" not in options.parameters and groups and given % groups:
            groups = None  # the recipe's, which do not fit
    else:
        unit = groups or 1
        beams = max(wanted.get("num_beams") or NUM_BEAMS, _supply(options))
        beams = min(-(-beams // unit), MAX_WIDTH // unit) * unit
        if beams < options.n and "num_beam_groups" in options.parameters:
            message = f"no multiple of num_beam_groups is from n = {options.n} to {MAX_WIDTH}"
            raise InvalidRequest(message, param="num_beam_groups")
        if beams < options.n:
            groups, beams = None, _supply(options)  # the recipe's groups, which do not fit
    chosen: dict[str, Any] = {"num_beams": beams, "num_return_sequences": beams}
    if strategy == "diverse_beam":
        chosen["num_beam_groups"] = groups or beams
        chosen["diversity_penalty"] = wanted.get("diversity_penalty", DIVERSITY_PENALTY)
    return chosen


def _supply(options: Options) -> int:
    """Candidates to decode so that n are left when some are dropped.

    Half as many again, and then as many as cost no more: rows are computed in fours.
    """
    if options.n == 1 and not options.drops:
        return 1
    return min(-(-3 * options.n // 8) * 4, max(options.n, USUAL_BATCH))
