from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type

from t5gguf import recipe
from t5gguf.quantize import POLICIES
from t5gguf.recipe import RecipeError

GOOD = """\
name = "good"
description = "A model."
license = "Apache-2.0"
file = "good-Q8_0.gguf"

[source]
repo = "owner/good"

[tasks]
reformulate = "rewrite: "
paraphrase = ""
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for recipes of the test's own."""
    (tmp_path / "recipes").mkdir()
    monkeypatch.setattr(recipe, "BUNDLED", tmp_path / "none")
    monkeypatch.setattr(recipe, "CHECKOUT", tmp_path)
    return tmp_path


def write(root: Path, text: str, name: str = "good") -> None:
    (root / "recipes" / f"{name}.toml").write_text(text, encoding="utf-8")


def test_there_are_recipes() -> None:
    """Guards the next test, which walks over them, from passing over none."""
    assert recipe.names()


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_loads(name: str) -> None:
    loaded = recipe.load(name)
    assert loaded.name == name
    assert loaded.source.repo.count("/") == 1
    assert loaded.license
    assert loaded.model_path().suffix == ".gguf"
    assert all(task.isidentifier() for task in loaded.tasks)
    assert set(loaded.quantisation.types) <= set(POLICIES)
    embedding = loaded.quantisation.token_embedding_type
    assert embedding is None or embedding in Type.__members__
    assert loaded.generation.max_tokens > 0


def test_what_a_recipe_leaves_out_has_defaults(root: Path) -> None:
    write(root, GOOD)
    loaded = recipe.load("good")
    assert loaded.generation.max_tokens == 64
    assert (loaded.source.revision, loaded.source.sha256) == ("", {})
    assert (loaded.quantisation.types, loaded.quantisation.token_embedding_type) == ([], None)
    assert loaded.model_path() == root / "models" / "good-Q8_0.gguf"


def test_the_first_task_of_the_file_stays_the_first(root: Path) -> None:
    """The first is the default, so sorting the names would change what a model does."""
    write(root, GOOD)
    assert list(recipe.load("good").tasks) == ["reformulate", "paraphrase"]


def test_an_installed_wheels_recipes_win(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = root / "bundled"
    (bundled / "recipes").mkdir(parents=True)
    monkeypatch.setattr(recipe, "BUNDLED", bundled)
    write(root, GOOD)
    write(bundled, GOOD.replace("good", "other"), "other")
    assert recipe.names() == ["other"]
    assert recipe.load("other").model_path() == bundled / "models" / "other-Q8_0.gguf"


@pytest.mark.parametrize("name", ["none", "../good", ""])
def test_an_unknown_name_lists_the_names(root: Path, name: str) -> None:
    """Neither does a name reach a file outside the recipes."""
    write(root, GOOD)
    write(root, GOOD.replace("good", "other"), "other")
    (root / "good.toml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(RecipeError, match="there are: good, other"):
        recipe.load(name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "good"', 'name = "other"', "needs the file's name"),
        ('reformulate = "rewrite: "\nparaphrase = ""', "", "at least one task"),
        ('license = "Apache-2.0"\n', "", "license"),
        ('repo = "owner/good"', 'repo = "owner/good"\nbranch = "main"', "branch"),
        ('paraphrase = ""', "paraphrase = 1", "paraphrase|tasks"),
        ("[tasks]", "[tasks", "good.toml"),
        ('paraphrase = ""', '"a,b" = ""', "each named by a plain word"),
        ('paraphrase = ""', '"" = ""', "each named by a plain word"),
        ("[tasks]", '[quantisation]\ntoken_embedding_type = "Q3_K"\n[tasks]', "Q3_K"),
        ("[tasks]", "[quantisation]\ntoken_embedding_type = 0\n[tasks]", "token_embedding_type"),
        ("[tasks]", "[generation]\nmax_tokens = 0\n[tasks]", "max_tokens"),
        ("[tasks]", "[generation]\nmax_tokens = 129\n[tasks]", "max_tokens"),
    ],
    ids=[
        "name",
        "no task",
        "no licence",
        "unknown field",
        "type",
        "no TOML",
        "comma in a task",
        "nameless task",
        "embedding type",
        "embedding number",
        "no tokens",
        "too many tokens",
    ],
)
def test_a_malformed_recipe_is_refused_with_its_path(
    root: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    write(root, GOOD.replace(old, new))
    with pytest.raises(RecipeError, match=message) as error:
        recipe.load("good")
    assert str(error.value).startswith(str(root / "recipes" / "good.toml"))


def test_a_recipe_that_is_not_utf8_is_refused(root: Path) -> None:
    (root / "recipes" / "good.toml").write_bytes(GOOD.replace("model", "\xff").encode("latin-1"))
    with pytest.raises(RecipeError, match=r"good\.toml: "):
        recipe.load("good")
