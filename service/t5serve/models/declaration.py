"""What an operator says of a model: which file, how many workers, when to load it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from t5engine.cpus import Demand
from t5serve.models.defaults import Defaults
from t5serve.settings import Settings


class Declaration(BaseModel):
    """One model to serve."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][\w.:/-]*$")] | None = None
    """The name in requests; None: the name that the file has."""
    model: Annotated[str, Field(min_length=1)]
    """The path of a GGUF file, or the name of a recipe."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """The number of worker processes; None: one, or one per core if the model's steps are short."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """The threads per worker; None: the model's part of the cores."""
    lexicon: Path | None = None
    """A file of words that are spelled rightly."""
    defaults: Defaults = Defaults()
    """The defaults of requests, over those of the recipe or of the file."""
    load: Literal["start", "first_use"] = "start"
    """When the model is loaded."""
    idle_minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The time without requests after which the model is unloaded; None: never."""

    @classmethod
    def of_settings(cls, settings: Settings) -> Self:
        """Returns the only model of settings without a file of models."""
        return cls(
            model=settings.model,
            workers=settings.workers,
            threads=settings.threads,
            lexicon=settings.lexicon,
        )

    def in_folder(self, folder: Path) -> Self:
        """Returns the declaration with its relative paths taken from a folder."""
        changes: dict[str, object] = {}
        if "/" in self.model or self.model.endswith(".gguf"):
            changes["model"] = str(folder / self.model)
        if self.lexicon is not None:
            changes["lexicon"] = folder / self.lexicon
        return self.model_copy(update=changes)

    def has_same_engine(self, other: Declaration) -> bool:
        """Whether both declare the same workers with the same defaults, of one file name."""
        fields = ("name", "model", "workers", "threads", "defaults")
        return all(getattr(self, field) == getattr(other, field) for field in fields)

    @property
    def demand(self) -> Demand:
        """The workers and threads of the model."""
        return Demand(self.workers, self.threads)

    @property
    def provisional_name(self) -> str:
        """The name, or what names the file, for messages about a model that is not loaded."""
        return self.name or Path(self.model).stem
