"""Recipes: one TOML file per model, saying where it comes from and how it wants to be used."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t5engine.decoding.parameters import MAX_TOKENS, PARAMETERS
from t5gguf.suggestion import suggest
from t5gguf.tasks import Rerank, Task, read_tasks

BUNDLED = Path(__file__).parent / "bundled"  # in an installed wheel
CHECKOUT = Path(__file__).parents[1]  # the repository's gguf/
REPO = re.compile(r"[\w.-]+/[\w.-]+")

TensorType = Literal["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0"]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the model comes from; sha256 by file name."""

    repo: str
    revision: str = ""
    """A commit, branch or tag; the main branch when there is none."""
    files: list[str] = []
    """Ready-made GGUF files of the repository; none: it has a checkpoint, to be converted."""
    included: bool = False
    """The GGUF file comes with this program."""
    sha256: dict[str, str] = {}


class GenerationDefaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What generation does unless the request says otherwise; by Hugging Face's names."""

    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] = 64
    strategy: Literal["auto", "greedy", "beam", "diverse_beam", "sample"] = "auto"

    @property
    def parameters(self) -> dict[str, int | float]:
        """The parameters that are set, by name."""
        values = {name: getattr(self, name, None) for name in PARAMETERS}
        return {name: value for name, value in values.items() if value is not None}

    def given(self) -> dict[str, int | float | str]:
        """The fields that are set, by name."""
        fields = msgspec.structs.asdict(self)
        return {name: value for name, value in fields.items() if value not in (None, "auto")}


def _parameter_field(name: str) -> tuple[str, Any, None]:
    """A field for a row of the table of generation parameters."""
    row = PARAMETERS[name]
    return name, Annotated[row.value_type, Meta(**row.parameter.bounds)] | None, None


if TYPE_CHECKING:

    class Generation(GenerationDefaults, frozen=True):
        """GenerationDefaults with a field for every generation parameter."""

        def __init__(self, **fields: Any) -> None: ...  # noqa: ANN401 - by the table
else:
    Generation = msgspec.defstruct(
        "Generation",
        [_parameter_field(name) for name, row in PARAMETERS.items() if row.parameter.in_recipes],
        bases=(GenerationDefaults,),
        frozen=True,
        forbid_unknown_fields=True,
    )


class Quantisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file types that are made of the model, and where they leave the usual policy."""

    types: list[str] = []
    token_embedding_type: TensorType | None = None
    calibration: bool = True


class Alias(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name that stands for one of two tasks, by the form of the query."""

    questions: str
    """The task for questions and requests."""
    keywords: str
    """The task for queries of keywords."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model.

    Attributes:
        file: name of its default GGUF file.
        tasks: by name; the first is the default. In the file either a table each, or
            `name = "prefix"`. A model that only reranks has none.
        aliases: further names that a request may give for a task.
        completions_task: the task whose prefix stands before prompts of the completions route;
            "": prompts are decoded as they are.
        rerank: how the model reranks documents; None: it does not.
    """

    name: str
    description: str
    license: str
    file: str
    source: Source
    tasks: dict[str, Task] = {}
    aliases: dict[str, Alias] = {}
    completions_task: str = ""
    rerank: Rerank | None = None
    generation: Generation = Generation()
    quantisation: Quantisation = Quantisation()

    @property
    def prefixes(self) -> dict[str, str]:
        """The text before a query, by the name of the task."""
        return {name: task.prefix for name, task in self.tasks.items()}

    @property
    def separators(self) -> dict[str, str]:
        """The text between the queries of an answer, by the name of the task that has one."""
        return {name: task.separator for name, task in self.tasks.items() if task.separator}

    def model_path(self) -> Path:
        """Where the recipe's default GGUF file is, or would be."""
        # A ready-made file keeps its name, which another repository may use as well.
        relative = Path(self.name, self.file) if self.source.files else Path(self.file)
        shipped = _root() / "models" / relative
        return shipped if shipped.is_file() else models() / relative

    def fetch_command(self) -> str:
        """What to type for the file to be there."""
        program = "t5gguf fetch" if _root() == BUNDLED else ".venv/bin/python scripts/fetch.py"
        file_type = PurePosixPath(self.file).stem.removeprefix(f"{self.name}-")
        return f"{program} {self.name}" + ("" if self.source.files else f" --convert {file_type}")


class RecipeError(ValueError):
    """No such recipe, or one that does not read as a recipe."""


def models() -> Path:
    """Where downloads and conversions go: T5GGUF_MODELS, else beside the recipes in a checkout."""
    if chosen := os.environ.get("T5GGUF_MODELS"):
        return Path(chosen)
    if _root() == CHECKOUT:
        return CHECKOUT / "models"
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(home) / "t5serve" / "models"


def lock_path() -> Path:
    """The lock file: beside the recipes in a checkout, beside the models otherwise."""
    return (CHECKOUT / "recipes" if _root() == CHECKOUT else models()) / "lock.json"


def shipped_lock_path() -> Path:
    """The lock file that came with the recipes."""
    return _root() / "recipes" / "lock.json"


def names() -> list[str]:
    """The recipes that are there."""
    return sorted(path.stem for path in (_root() / "recipes").glob("*.toml"))


def load(name: str) -> Recipe:
    """Reads a recipe by name.

    Raises:
        RecipeError: lists the names there are, or says what is wrong with the file.
    """
    if name not in names():
        raise RecipeError(f"no recipe is named {name!r}; {suggest(name, names())}")
    path = _root() / "recipes" / f"{name}.toml"
    try:
        fields = msgspec.toml.decode(path.read_bytes())
        recipe = msgspec.convert(fields | {"tasks": read_tasks(fields.get("tasks", {}))}, Recipe)
    except (msgspec.DecodeError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from error
    if fault := _fault_of_tasks(recipe, name):
        raise RecipeError(f"{path}: {fault}")
    if not REPO.fullmatch(recipe.source.repo):
        raise RecipeError(f"{path}: source.repo is {recipe.source.repo!r}, expected owner/name")
    ready_made = [PurePosixPath(file).name for file in recipe.source.files]
    if Path(recipe.file).name != recipe.file or not recipe.file.endswith(".gguf"):
        raise RecipeError(f"{path}: file is {recipe.file!r}, expected the name of a GGUF file")
    if ready_made and recipe.file not in ready_made:
        raise RecipeError(f"{path}: file {recipe.file!r} is not one of source.files")
    return recipe


def _fault_of_tasks(recipe: Recipe, name: str) -> str | None:
    """Returns what is wrong with a recipe's name, tasks or aliases; None if nothing is."""
    tasks = recipe.tasks
    is_known = recipe.completions_task in ("", *tasks)
    is_plain = all(map(str.isidentifier, [*tasks, *recipe.aliases]))
    if recipe.name != name or not (tasks or recipe.rerank) or not (is_known and is_plain):
        return "needs the file's name, and at least one task, each named by a plain word"
    if recipe.completions_task and not tasks[recipe.completions_task].is_prefixed:
        return "the template of completions_task is no prefix of {query}"
    for alias in recipe.aliases.values():
        if missing := {alias.questions, alias.keywords} - tasks.keys():
            return f"an alias stands for the unknown task {min(missing)!r}"
    if shadowed := recipe.aliases.keys() & tasks.keys():
        return f"{min(shadowed)!r} is the name of a task and of an alias"
    return None


def _root() -> Path:
    return BUNDLED if BUNDLED.is_dir() else CHECKOUT
