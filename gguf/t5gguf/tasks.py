"""What a model can be asked for: its tasks, each with a template, and reranking."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from t5engine.decoding.parameters import MAX_WIDTH
from t5engine.messages import Cut
from t5engine.relevance import Relevance
from t5engine.tokenization.marks import get_mark

QUERY, DOCUMENT, HISTORY = "{query}", "{document}", "{history}"
PLACEHOLDER = re.compile(r"(\{(?:query|document|history)\})")
LANGUAGE = re.compile(r"[a-z]{2,3}")  # ISO 639

Preserved = Literal[
    "numbers",
    "quoted",
    "capitalised",
    "negation",
    "content",
    "keywords",
    "aspects",
    "rare",
    "identifiers",
]

Truncation = Literal["left", "document", "refuse"]


class EncoderInput(NamedTuple):
    """The encoder's input for one query or document.

    Attributes:
        text: the filled template.
        cut: the range of the text that is shortened if it is too long; None: the input is refused.
    """

    text: str
    cut: Cut | None = None


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One task of a model.

    Attributes:
        template: the encoder's input: text around `{query}`, or around `{document}` for a task
            whose inputs are documents; and around `{history}`, the earlier turns of a
            conversation.
        join: the text between two turns. Without turns, `{history}` is left out together with the
            join beside it, so that the first turn has none.
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
        truncate: what is cut from an input that is too long. document: the end of the document.
            left: the oldest turns, or the beginning of the query if the template has no turns.
            refuse: nothing, the input is an error. The text of the template is never cut.
        corrects: whether the task corrects a query and never rewords it: candidates that the
            model finds less likely than the query itself are dropped.
    """

    template: str = QUERY
    join: str = " "
    separator: str = ""
    n: Annotated[int, Meta(ge=1, le=16)] = 1
    num_beams: Annotated[int, Meta(ge=1, le=MAX_WIDTH)] | None = None
    preserve: list[Preserved] = []
    min_score: Annotated[float, Meta(le=0)] | None = None
    max_query_tokens: Annotated[int, Meta(ge=1)] | None = None
    languages: list[str] = []
    rewrite_code: bool = True
    truncate: Truncation = "refuse"
    corrects: bool = False

    def __post_init__(self) -> None:
        """Refuses a template that no input fits in, and what is no language."""
        _check_template(self.template, needs=(QUERY, DOCUMENT))
        if QUERY in self.template and DOCUMENT in self.template:
            raise ValueError(
                f"template {self.template!r} has {QUERY} and {DOCUMENT}; a task has one of them"
            )
        if self.truncate == "document" and not self.takes_document:
            raise ValueError(f"truncate is 'document', but the template has no {DOCUMENT}")
        if self.max_query_tokens is not None and (self.takes_document or self.takes_history):
            raise ValueError(
                f"max_query_tokens counts the whole input: not for {DOCUMENT} and {HISTORY}"
            )
        if self.takes_document and (self.corrects or self.preserve):
            raise ValueError(
                f"corrects and preserve compare answers with a query, not with a {DOCUMENT}"
            )
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
        """The text before what comes first: the query, the document or the history."""
        return str(PLACEHOLDER.split(self.template)[0])

    @property
    def is_prefixed(self) -> bool:
        """Whether the template is a prefix of the query and nothing else."""
        return self.template == self.prefix + QUERY

    @property
    def takes_document(self) -> bool:
        """Whether the inputs are documents."""
        return DOCUMENT in self.template

    @property
    def takes_history(self) -> bool:
        """Whether the earlier turns of a conversation are part of the input."""
        return HISTORY in self.template

    def render(self, query: str, history: Sequence[str] = ()) -> str:
        """The encoder's input for a query or a document."""
        return self.fill(query, history).text

    def fill(self, query: str, history: Sequence[str] = ()) -> EncoderInput:
        """Fills the template.

        Args:
            query: the query, or the document.
            history: the earlier turns, oldest first.
        """
        turns = self.join.join(history)
        values = {QUERY: query, DOCUMENT: query, HISTORY: turns}
        ranges: dict[str, tuple[int, int]] = {}
        text = ""
        # Not str.format: a query may have braces.
        for part in PLACEHOLDER.split(self.template if history else self._first_turn_template):
            ranges[part] = len(text), len(text) + len(values.get(part, part))
            text += values.get(part, part)
        if self.truncate == "refuse":
            return EncoderInput(text)
        if self.truncate == "document":
            return EncoderInput(text, Cut(*ranges[DOCUMENT], "right"))
        if HISTORY not in ranges:
            return EncoderInput(text, Cut(*ranges[QUERY], "left"))
        start, end = ranges[HISTORY]
        starts = [start]
        for turn in history:
            starts.append(starts[-1] + len(turn) + len(self.join))
        if text.startswith(self.join, end):
            end += len(self.join)  # it goes with the last turn
        return EncoderInput(text, Cut(start, end, "left", starts[1:-1]))

    @property
    def _first_turn_template(self) -> str:
        """The template without the history and the join beside it."""
        for part in (HISTORY + self.join, self.join + HISTORY):
            if part in self.template:
                return self.template.replace(part, "")
        return self.template.replace(HISTORY, "")


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
