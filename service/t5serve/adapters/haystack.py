"""Haystack: a component from a query to its reformulations."""

from __future__ import annotations

from typing import Any, Self

from haystack import component, default_from_dict, default_to_dict

from t5serve.api import Reformulator
from t5serve.client.client import Client
from t5serve.results import ReformulateOptions


@component
class QueryReformulator:
    """Returns `queries`: the query, if it is wanted, and its reformulations, best first.

    Args:
        url: of a service; its key is the variable T5SERVE_API_KEY.
        model: a GGUF file or a recipe's name, to load a model instead of using a service.
        include_original: whether the query itself comes first.
        options: of the reformulation.
    """

    def __init__(
        self,
        url: str | None = None,
        model: str | None = None,
        *,
        include_original: bool = True,
        options: ReformulateOptions | None = None,
    ) -> None:
        if (url is None) == (model is None):
            raise ValueError("exactly one of url and model is required")
        self._url = url
        self._model = model
        self._include_original = include_original
        self._options = options or ReformulateOptions()
        self._source: Client | Reformulator | None = None

    def warm_up(self) -> None:
        """Loads the model, or makes ready to connect."""
        if self._source is None:
            self._source = Client(self._url) if self._url else Reformulator(self._model)

    def close(self) -> None:
        """Ends the model's workers, or closes the connections."""
        if self._source is not None:
            self._source.close()
            self._source = None

    @component.output_types(queries=list[str])
    def run(self, query: str) -> dict[str, list[str]]:
        """Reformulates a query."""
        self.warm_up()
        if self._source is None:
            raise RuntimeError("the component was closed while it ran")
        (result,) = self._source.reformulate([query], **self._options)
        others = [text for text in result.queries if text != query]
        return {"queries": [query, *others] if self._include_original else result.queries}

    def to_dict(self) -> dict[str, Any]:
        """Returns the component for a pipeline's file."""
        return default_to_dict(
            self,
            url=self._url,
            model=self._model,
            include_original=self._include_original,
            options=dict(self._options),
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Builds the component that `to_dict` has described."""
        return default_from_dict(cls, data)
