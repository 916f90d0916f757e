"""Relevance of a document for a query, as the probability of one token of two at the first step.

Source: Nogueira et al., "Document Ranking with a Pretrained Sequence-to-Sequence Model" (monoT5).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import msgspec

from t5engine.messages import Cut

RERANK_KEY = "t5serve.rerank."  # then the name of a field, in a GGUF file
_PLACEHOLDER = re.compile(r"(\{query\}|\{document\})")


class Relevance(msgspec.Struct, frozen=True):
    """How a model judges whether a document is relevant for a query.

    Attributes:
        template: the encoder's input: text around `{query}` and `{document}`.
        positive: the piece of the token whose probability is the relevance, as the vocabulary has
            it: U+2581 stands for a space.
        negative: the piece of the token that it is weighed against.
    """

    template: str
    positive: str
    negative: str

    def __post_init__(self) -> None:
        """Refuses a template without a query or a document, and tokens that are no two."""
        for placeholder in ("{query}", "{document}"):
            if self.template.count(placeholder) != 1:
                raise ValueError(f"template {self.template!r} needs {placeholder} exactly once")
        if not self.positive or not self.negative or self.positive == self.negative:
            raise ValueError("positive and negative must be two different tokens")

    @property
    def tokens(self) -> list[str]:
        """The pieces of both tokens."""
        return [self.positive, self.negative]

    def render(self, query: str, document: str) -> tuple[str, Cut]:
        """Returns the encoder's input, and where the document is in it."""
        text, cut = "", Cut(0, 0, "right")
        # Not str.format: a query may have braces, or a placeholder.
        for part in _PLACEHOLDER.split(self.template):
            start = len(text)
            text += {"{query}": query, "{document}": document}.get(part, part)
            if part == "{document}":
                cut = Cut(start, len(text), "right")
        return text, cut


def read_relevance(metadata: Mapping[str, object]) -> Relevance | None:
    """Returns what the metadata of a GGUF file say; None: the model does not rerank.

    Raises:
        ValueError: the metadata contradict themselves.
    """
    names = Relevance.__struct_fields__
    values = {name: str(metadata.get(RERANK_KEY + name, "")) for name in names}
    return Relevance(**values) if any(values.values()) else None


def compute_relevance(positive_logit: float, negative_logit: float) -> float:
    """Returns the softmax over both logits, for the positive one."""
    difference = negative_logit - positive_logit
    if difference > 0:  # exp of what is positive could overflow
        odds = math.exp(-difference)
        return odds / (1 + odds)
    return 1 / (1 + math.exp(difference))
