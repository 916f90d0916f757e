"""Recipes: one TOML file per model, saying where it comes from and how it wants to be used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

BUNDLED = Path(__file__).parent / "bundled"  # in an installed wheel
CHECKOUT = Path(__file__).parents[1]  # the repository's gguf/


MAX_TOKENS = 128  # the service's most per sequence
MAX_WIDTH = 20  # and of sequences per query
EmbeddingType = Literal["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0"]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the checkpoint comes from; sha256 by file name."""

    repo: str
    revision: str = ""
    sha256: dict[str, str] = {}


class Generation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What generation does unless the request says otherwise; by Hugging Face's names."""

    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] = 64
    strategy: Literal["auto", "greedy", "beam", "diverse_beam", "sample"] = "auto"
    num_beams: Annotated[int, Meta(ge=1, le=MAX_WIDTH)] | None = None
    num_beam_groups: Annotated[int, Meta(ge=1, le=MAX_WIDTH)] | None = None
    length_penalty: Annotated[float, Meta(ge=-100, le=100)] | None = None
    diversity_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_k: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.01, le=100)] | None = None
    no_repeat_ngram_size: Annotated[int, Meta(ge=0, lt=2**31)] | None = None

    def given(self) -> dict[str, int | float | str]:
        """The fields that say something, by name."""
        fields = msgspec.structs.asdict(self)
        return {name: value for name, value in fields.items() if value not in (None, "auto")}


class Quantisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file types that are made of the model, and where they leave the usual policy."""

    types: list[str] = []
    token_embedding_type: EmbeddingType | None = None


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model: `tasks` maps a task's name to its prefix, the first is the default."""

    name: str
    description: str
    license: str
    file: str
    source: Source
    tasks: dict[str, str]
    completions_task: str = ""
    """The task whose prefix prompts of the completions route get; none: they are as they are."""
    generation: Generation = Generation()
    quantisation: Quantisation = Quantisation()

    def model_path(self) -> Path:
        """Where the recipe's default GGUF file is, or would be."""
        return _root() / "models" / self.file


class RecipeError(ValueError):
    """No such recipe, or one that does not read as a recipe."""


def names() -> list[str]:
    """The recipes that are there."""
    return sorted(path.stem for path in (_root() / "recipes").glob("*.toml"))


def load(name: str) -> Recipe:
    """Reads a recipe by name.

    Raises:
        RecipeError: lists the names there are, or says what is wrong with the file.
    """
    if name not in names():
        raise RecipeError(f"no recipe is named {name!r}; there are: {', '.join(names())}")
    path = _root() / "recipes" / f"{name}.toml"
    try:
        recipe = msgspec.toml.decode(path.read_bytes(), type=Recipe)
    except (msgspec.DecodeError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from error
    wrong = [task for task in recipe.tasks if not task.isidentifier()]
    if recipe.completions_task and recipe.completions_task not in recipe.tasks:
        wrong.append(recipe.completions_task)
    if recipe.name != name or not recipe.tasks or wrong:
        raise RecipeError(
            f"{path}: needs the file's name, and at least one task, each named by a plain word"
        )
    return recipe


def _root() -> Path:
    return BUNDLED if BUNDLED.is_dir() else CHECKOUT
