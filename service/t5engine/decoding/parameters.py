"""The one table of generation parameters, under Hugging Face's names.

Each field of GenerationConfig with a Parameter is a row: name, type, default, bounds, the
strategies that use the parameter, help. Request schemas, recipes, the command line, the API
description and the web page are made from the table. A new parameter is a new field here and its
processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import msgspec

Strategy = Literal["greedy", "beam", "diverse_beam", "sample"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
BEAMS: tuple[Strategy, ...] = ("beam", "diverse_beam")
GROUPS: tuple[Strategy, ...] = ("diverse_beam",)
SAMPLING: tuple[Strategy, ...] = ("sample",)

MAX_TOKENS = 128  # of a sequence: the contract's limit
MAX_WIDTH = 20  # sequences of one generation: OpenAI's limit for best_of
LARGEST_REAL = 100.0  # far beyond use, and F32 scores stay finite
INTEGER_END = 2**31  # messages have 64 bits


class ParameterError(ValueError):
    """Parameters are out of range, or exclude each other.

    Attributes:
        parameter: the parameter at fault.
    """

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


@dataclass(frozen=True)
class Parameter:
    """What a row of the table says beside type and default.

    Attributes:
        help: one sentence for people.
        strategies: the strategies that use the parameter; none: internal, or OpenAI's.
        ge, gt, le, lt: bounds, as in annotated_types and JSON Schema; None: unbounded.
        neutral: values beside the default at which the parameter changes nothing.
        in_recipes: whether a recipe may set a default.
        accepted_always: whether a request may set it with a strategy that does not use it.
    """

    help: str
    strategies: tuple[Strategy, ...] = ()
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    neutral: tuple[float, ...] = ()
    in_recipes: bool = True
    accepted_always: bool = False

    def admits(self, value: float) -> bool:
        """Whether a value is within the bounds; NaN never is."""
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    @property
    def bounds(self) -> dict[str, Any]:
        """The bounds that there are, by name."""
        bounds = {"ge": self.ge, "gt": self.gt, "le": self.le, "lt": self.lt}
        return {name: bound for name, bound in bounds.items() if bound is not None}


class GenerationConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Parameters of one generation; the defaults change nothing.

    Beams (`num_beams` > 1) search without sampling; groups of them make the search diverse.
    Presence and frequency penalties are OpenAI's, the others are Hugging Face's.

    Attributes:
        max_tokens: most tokens of a sequence, `</s>` included (Hugging Face's max_new_tokens).
        early_stopping: True: once as many sequences have ended as there are beams; False: once no
            running one is likely to become better; "never": once none can.
        logit_bias: by token id, added to the logits.
        top_logprobs: how many alternatives to report for each token; None: no log-probabilities.
    """

    max_tokens: Annotated[int, Parameter("Most tokens of a sequence.", ge=1)]
    do_sample: bool = False
    num_return_sequences: Annotated[int, Parameter("Sequences returned.", ge=1, le=MAX_WIDTH)] = 1
    early_stopping: bool | Literal["never"] = False
    num_beams: Annotated[
        int,
        Parameter("Beams, at least n and a multiple of the groups.", BEAMS, ge=1, le=MAX_WIDTH),
    ] = 1
    num_beam_groups: Annotated[
        int,
        Parameter(
            "Groups of diverse beams that avoid one another's tokens; by default each beam is one.",
            GROUPS,
            ge=1,
            le=MAX_WIDTH,
        ),
    ] = 1
    length_penalty: Annotated[
        float,
        Parameter(
            "Of beams: above 0 prefers longer sequences, below 0 shorter ones.",
            BEAMS,
            ge=-LARGEST_REAL,
            le=LARGEST_REAL,
        ),
    ] = 1.0
    diversity_penalty: Annotated[
        float,
        Parameter(
            "Taken from the score of a token for each group that has just chosen it.",
            GROUPS,
            ge=0,
            le=LARGEST_REAL,
        ),
    ] = 0.0
    temperature: Annotated[
        float,
        Parameter(
            "Divides the logits: below 1 safer, above 1 bolder; 0 takes the most likely token.",
            SAMPLING,
            ge=0,
            le=LARGEST_REAL,
            neutral=(0,),
        ),
    ] = 1.0
    top_k: Annotated[
        int,
        Parameter(
            "Draws from this many of the most likely tokens; 0: from all.",
            SAMPLING,
            ge=0,
            lt=INTEGER_END,
        ),
    ] = 0
    top_p: Annotated[
        float,
        Parameter(
            "Draws from the most likely tokens that have this probability together.",
            SAMPLING,
            gt=0,
            le=1,
        ),
    ] = 1.0
    min_p: Annotated[
        float,
        Parameter(
            "Leaves out tokens below this share of the most likely one.", SAMPLING, ge=0, le=1
        ),
    ] = 0.0
    typical_p: Annotated[
        float,
        Parameter(
            "Draws from the most typical tokens that have this probability together: "
            "those whose surprise is nearest to the expected one.",
            SAMPLING,
            gt=0,
            le=1,
        ),
    ] = 1.0
    repetition_penalty: Annotated[
        float,
        Parameter(
            "Above 1: tokens that were said are less likely to come again.",
            STRATEGIES,
            ge=1 / LARGEST_REAL,
            le=LARGEST_REAL,
        ),
    ] = 1.0
    no_repeat_ngram_size: Annotated[
        int,
        Parameter(
            "No run of this many tokens comes twice; 0: any may.", STRATEGIES, ge=0, lt=INTEGER_END
        ),
    ] = 0
    seed: Annotated[
        int | None,
        Parameter(
            "Of samples: the same request with the same seed gets the same answer.",
            SAMPLING,
            ge=0,
            lt=2**63,
            in_recipes=False,
            accepted_always=True,  # many clients send one with every request
        ),
    ] = None
    presence_penalty: Annotated[
        float,
        Parameter(
            "Taken from the logits of tokens that were said.", ge=-LARGEST_REAL, le=LARGEST_REAL
        ),
    ] = 0.0
    frequency_penalty: Annotated[
        float,
        Parameter(
            "Taken from the logits of tokens, each time that they were said.",
            ge=-LARGEST_REAL,
            le=LARGEST_REAL,
        ),
    ] = 0.0
    logit_bias: dict[int, float] = {}
    top_logprobs: Annotated[
        int | None, Parameter("Alternatives reported for each token.", ge=0)
    ] = None

    def __post_init__(self) -> None:
        """Refuses invalid parameters with a ParameterError that names them."""
        faults = [
            name
            for name, row in ROWS.items()
            if (value := getattr(self, name)) is not None and not row.parameter.admits(value)
        ]
        if not all(abs(bias) <= LARGEST_REAL for bias in self.logit_bias.values()):
            faults.append("logit_bias")
        if faults:
            raise ParameterError(faults[0], f"out of range: {', '.join(faults)}")
        returned = self.num_return_sequences
        if self.num_beams % self.num_beam_groups:
            self._refuse("num_beams", "must be a multiple of num_beam_groups")
        if self.num_beams > 1 and self.do_sample:
            self._refuse("num_beams", "and do_sample exclude each other: beams are searched")
        if self.num_beams > 1 and returned > self.num_beams:
            self._refuse("num_return_sequences", "is more than num_beams")
        if self.num_beams == 1 and not self.do_sample and returned > 1:
            self._refuse("num_return_sequences", "must be 1: greedy decoding gives one sequence")
        if self.num_beam_groups > 1 and not self.diversity_penalty:
            self._refuse("diversity_penalty", "must be above 0, or all beam groups find the same")

    def _refuse(self, parameter: str, message: str) -> NoReturn:
        raise ParameterError(parameter, f"{parameter} {message}")

    @property
    def width(self) -> int:
        """Sequences that are decoded side by side."""
        return max(self.num_beams, self.num_return_sequences)

    @property
    def is_deterministic(self) -> bool:
        """Whether the same input always has the same result: nothing is drawn without a seed."""
        return not self.do_sample or self.seed is not None or self.temperature == 0


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        value_type: int or float.
        default: the value that changes nothing.
        parameter: bounds, strategies, help.
    """

    name: str
    value_type: type[int | float]
    default: float | None
    parameter: Parameter

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The strategies that use the parameter."""
        return self.parameter.strategies

    def is_accepted(self, strategy: str) -> bool:
        """Whether a request may set the parameter with this strategy."""
        return self.parameter.accepted_always or strategy in self.strategies

    @property
    def neutral(self) -> tuple[float, ...]:
        """The values at which the parameter changes nothing, the default first."""
        default = () if self.default is None else (self.default,)
        return (*default, *self.parameter.neutral)


def _rows() -> dict[str, Row]:
    """The fields of GenerationConfig that have a Parameter, in order."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(GenerationConfig)}
    rows = {}
    for name, hint in get_type_hints(GenerationConfig, include_extras=True).items():
        if get_origin(hint) is Annotated:
            value_type, parameter = get_args(hint)
            default: Any = defaults[name]
            rows[name] = Row(
                name=name,
                value_type=next(iter(get_args(value_type)), value_type),
                default=None if default is msgspec.NODEFAULT else default,
                parameter=parameter,
            )
    return rows


ROWS = _rows()
"""Every parameter with bounds, by name."""
PARAMETERS = {name: row for name, row in ROWS.items() if row.strategies}
"""The parameters that a request of `/v1/reformulate`, a recipe and the command line may set."""
