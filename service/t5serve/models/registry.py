"""The registry of the models of a service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from t5serve.errors import ModelNotFound, excerpt
from t5serve.models.served_model import ServedModel


class ModelRegistry:
    """Finds a model by the name in a request.

    Args:
        models: at least one model; the first is the default.
    """

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = models

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models)

    @property
    def default(self) -> ServedModel:
        """The model for requests that name no model."""
        return self._models[0]

    def find(self, name: str) -> ServedModel:
        """Returns the model of this name.

        Raises:
            ModelNotFound: no model has this name.
            NotReady: a model is still loading, and its name is not known.
        """
        for model in self._models:
            if model.name == name:
                return model
        names = ", ".join(repr(model.name) for model in self._models)
        message = f"there is no model {excerpt(name)!r}; the served models are: {names}"
        raise ModelNotFound(message, param="model")
