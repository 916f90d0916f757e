"""What a model can be asked for: its tasks, each with a template, and reranking."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t5engine.decoding.parameters import MAX_WIDTH
from t5engine.relevance import Relevance
from t5engine.tokenization.marks import get_mark

QUERY, DOCUMENT, HISTORY = "{query}", "{document}", "{history}"
PLACEHOLDER = re.compile(r"\{(?:query|document|history)\}")
COUNT_KEY = "t5serve.n."  # then the name of a task, in a GGUF file
LANGUAGE = re.compile(r"[a-z]{2,3}")  # ISO 639

Preserved = Literal[
    "numbers", "quoted", "capitalised", "negation", "content", "keywords", "rare", "identifiers"
]


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One task of a model.

    Attributes:
        template: the encoder's input: text around `{query}`, `{document}` and `{history}`.
        separator: text at which a decoded sequence is split into several queries; "": none. Without
            the blanks around it, it must be a piece of the model's vocabulary.
        n: reformulations that a request gets which asks for no number; with a separator, the most
            queries that it gets.
        num_beams: beams that are searched for them; None: as the strategy needs.
        preserve: what of a query a candidate must keep.
        min_score: the lowest score of a candidate; None: any.
        max_query_tokens: longer queries are left as they are; None: no query is too long.
        languages: queries in other languages are left as they are; none: any language.
        rewrite_code: whether queries that look like code are rewritten.
        truncate: what is cut from an input that is too long; refuse: nothing, the input is an
            error.
        corrects: whether the task corrects a query and never rewords it: candidates that the
            model finds less likely than the query itself are dropped.
    """

    template: str = QUERY
    separator: str = ""
    n: Annotated[int, Meta(ge=1, le=16)] = 1
    num_beams: Annotated[int, Meta(ge=1, le=MAX_WIDTH)] | None = None
    preserve: list[Preserved] = []
    min_score: Annotated[float, Meta(le=0)] | None = None
    max_query_tokens: Annotated[int, Meta(ge=1)] | None = None
    languages: list[str] = []
    rewrite_code: bool = True
    truncate: Literal["left", "document", "refuse"] = "refuse"
    corrects: bool = False

    def __post_init__(self) -> None:
        """Refuses a template that no input fits in, and what is no language."""
        _check_template(self.template, needs=(QUERY, DOCUMENT))
        if wrong := [code for code in self.languages if not LANGUAGE.fullmatch(code)]:
            raise ValueError(f"languages has {wrong[0]!r}, expected codes such as 'en'")
        if self.separator and not get_mark(self.separator):
            raise ValueError(f"separator is {self.separator!r}, expected a mark such as ' ; '")
        if self.separator and self.corrects:
            raise ValueError("a task that corrects gives one query, so it has no separator")

    @classmethod
    def of_prefix(cls, prefix: str) -> Task:
        """The task whose inputs are queries after a prefix."""
        return cls(template=prefix + QUERY)

    @property
    def prefix(self) -> str:
        """The text before the query."""
        return self.template.partition(QUERY)[0]

    def render(self, query: str) -> str:
        """The encoder's input for a query."""
        # Not str.format: a query may have braces.
        before, _, after = self.template.partition(QUERY)
        return before + query + after


class Rerank(Relevance, frozen=True, forbid_unknown_fields=True):
    """How a model judges whether a document is relevant for a query; see `Relevance`."""


def read_tasks(value: Any) -> Any:  # noqa: ANN401 - any TOML
    """Turns the short form of a recipe's tasks, `name = "prefix"`, into the long one."""
    if not isinstance(value, dict):
        return value
    return {
        name: {"template": task + QUERY} if isinstance(task, str) else task
        for name, task in value.items()
    }


def _check_template(template: str, *, needs: tuple[str, ...]) -> None:
    placeholders = PLACEHOLDER.findall(template)
    if not set(needs) & set(placeholders):
        raise ValueError(f"template {template!r} needs {' or '.join(needs)}")
    if len(set(placeholders)) < len(placeholders):
        raise ValueError(f"template {template!r} has a placeholder twice")
