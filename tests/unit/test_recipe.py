import re
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type

from t5engine.decoding.parameters import PARAMETERS
from t5gguf import recipe
from t5gguf.quantize import POLICIES
from t5gguf.recipe import RecipeError
from t5gguf.tasks import Task
from t5serve.reformulation.options import Options, decoding_of

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


SHORT = '[tasks]\nreformulate = "rewrite: "\nparaphrase = ""\n'
LONG = """\
[tasks.search]
template = "search: {query} </s>"
separator = " ; "
n = 5
num_beams = 4
preserve = ["numbers", "negation"]
min_score = -1.5
max_query_tokens = 64
languages = ["en"]
rewrite_code = false
truncate = "left"

[rerank]
template = "Query: {query} Document: {document} Relevant:"
positive = "true"
negative = "false"
"""
PART_OF_A_COMPLETION = """\
file = "good-Q8_0.gguf"
completions_task = "ask"
source = {repo = "owner/good"}

[tasks.ask]
template = "{query}?"
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for recipes of the test's own."""
    (tmp_path / "recipes").mkdir()
    monkeypatch.setattr(recipe, "BUNDLED", tmp_path / "none")
    monkeypatch.setattr(recipe, "CHECKOUT", tmp_path)
    monkeypatch.delenv("T5GGUF_MODELS", raising=False)
    return tmp_path


def write(root: Path, text: str, name: str = "good") -> None:
    (root / "recipes" / f"{name}.toml").write_text(text, encoding="utf-8")


def test_there_are_recipes() -> None:
    """Guards the next test, which walks over them, from passing over none."""
    assert recipe.names()


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_is_whole(name: str) -> None:
    loaded = recipe.load(name)
    assert loaded.name == name
    assert loaded.description.endswith((".", "!", "?"))
    assert re.fullmatch(r"[A-Za-z0-9.-]+", loaded.license)
    assert recipe.REPO.fullmatch(loaded.source.repo)
    assert all(re.fullmatch(r"[0-9a-f]{64}", found) for found in loaded.source.sha256.values())
    assert all(prefix == "" or prefix.endswith(": ") for prefix in loaded.prefixes.values())
    assert set(loaded.quantisation.types) <= set(POLICIES)
    embedding = loaded.quantisation.token_embedding_type
    assert embedding is None or embedding in Type.__members__
    if loaded.source.files:
        assert loaded.file in loaded.source.files
    else:
        assert loaded.file in {f"{name}-{kind}.gguf" for kind in POLICIES}


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipes_defaults_suit_the_service(name: str) -> None:
    """For any number of reformulations; and none of them is without effect with its strategy."""
    defaults = recipe.load(name).generation
    for count in (1, 4, 16):
        assert decoding_of(Options(n=count), defaults).max_tokens == defaults.max_tokens
    strategy = "sample" if defaults.strategy == "auto" else defaults.strategy
    assert all(strategy in PARAMETERS[name].strategies for name in defaults.parameters)


def test_the_main_target_decodes_as_its_card_says() -> None:
    loaded = recipe.load("t5-query-reformulation-rl")
    assert loaded.source.repo == "prhegde/t5-query-reformulation-RL"
    assert (loaded.prefixes, loaded.license) == ({"reformulate": ""}, "Apache-2.0")
    decoding = decoding_of(Options(), loaded.generation)
    assert decoding.do_sample
    assert (decoding.max_tokens, decoding.repetition_penalty, decoding.top_k) == (34, 1.8, 50)


@pytest.mark.parametrize("name", ["monot5-base", "monot5-small"])
def test_rerankers_ask_as_pygaggle_does(name: str) -> None:
    """The template and the tokens of its MonoT5; there is no other task."""
    loaded = recipe.load(name)
    assert loaded.rerank is not None
    assert loaded.rerank.template == "Query: {query} Document: {document} Relevant:"
    assert (loaded.rerank.positive, loaded.rerank.negative) == ("\u2581true", "\u2581false")
    assert loaded.tasks == {}


def test_turns_are_joined_as_the_card_of_canard_has_them() -> None:
    """The example of the card: titles, questions and answers, then the question."""
    task = recipe.load("t5-base-canard").tasks["standalone"]
    turns = ["Frank Zappa", "Disbandment", "What group disbanded"]
    turns.append("Zappa and the Mothers of Invention")
    assert task.render("When did they disband?", turns) == (
        "Frank Zappa ||| Disbandment ||| What group disbanded ||| Zappa and the Mothers of"
        " Invention ||| When did they disband?"
    )
    assert task.truncate == "left"


@pytest.mark.parametrize("name", ["doc2query-t5-base", "doc2query-msmarco-t5-base-v1"])
def test_expanders_sample_queries_of_documents(name: str) -> None:
    """The document is the input as it is, and loses its end."""
    loaded = recipe.load(name)
    task = loaded.tasks["doc2query"]
    assert task == Task(template="{document}", truncate="document", n=task.n)
    decoding = decoding_of(Options.for_task(task), loaded.generation)
    assert (decoding.do_sample, decoding.max_tokens) == (True, 63)


def test_downloads_can_go_elsewhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the files that came with the recipes are found first."""
    write(root, GOOD)
    monkeypatch.setenv("T5GGUF_MODELS", str(root / "elsewhere"))
    assert recipe.load("good").model_path() == root / "elsewhere" / "good-Q8_0.gguf"
    (root / "models").mkdir()
    (root / "models" / "good-Q8_0.gguf").touch()
    assert recipe.load("good").model_path() == root / "models" / "good-Q8_0.gguf"


def test_a_ready_made_file_has_a_directory_of_its_own(root: Path) -> None:
    """Another repository may call its file the same."""
    write(root, GOOD.replace("[tasks]", 'files = ["q8/good-Q8_0.gguf"]\n[tasks]'))
    loaded = recipe.load("good")
    assert loaded.model_path() == root / "models" / "good" / "good-Q8_0.gguf"
    assert loaded.fetch_command() == ".venv/bin/python scripts/fetch.py good"


def test_a_wheels_downloads_and_lock_go_to_the_users_data(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel itself may be read-only; its own lock file still holds."""
    bundled = root / "bundled"
    (bundled / "recipes").mkdir(parents=True)
    write(bundled, GOOD)
    monkeypatch.setattr(recipe, "BUNDLED", bundled)
    monkeypatch.setenv("XDG_DATA_HOME", str(root / "data"))
    models = root / "data" / "t5serve" / "models"
    assert recipe.load("good").model_path() == models / "good-Q8_0.gguf"
    assert recipe.load("good").fetch_command() == "t5gguf fetch good --convert Q8_0"
    assert recipe.lock_path() == models / "lock.json"
    assert recipe.shipped_lock_path() == bundled / "recipes" / "lock.json"


def test_what_a_recipe_leaves_out_has_defaults(root: Path) -> None:
    write(root, GOOD)
    loaded = recipe.load("good")
    assert loaded.generation.max_tokens == 64
    assert (loaded.source.revision, loaded.source.sha256) == ("", {})
    assert (loaded.quantisation.types, loaded.quantisation.token_embedding_type) == ([], None)
    assert loaded.quantisation.calibration
    assert loaded.model_path() == root / "models" / "good-Q8_0.gguf"


def test_the_first_task_of_the_file_stays_the_first(root: Path) -> None:
    """The first is the default, so sorting the names would change what a model does."""
    write(root, GOOD)
    assert list(recipe.load("good").tasks) == ["reformulate", "paraphrase"]


def test_a_task_says_all_that_it_needs(root: Path) -> None:
    """The long form has a table for each task; the short one is a prefix."""
    write(root, GOOD)
    short = recipe.load("good")
    assert short.tasks["reformulate"].render("{query} or {}") == "rewrite: {query} or {}"
    assert (short.tasks["paraphrase"], short.rerank) == (Task(), None)
    write(root, GOOD.replace(SHORT, LONG))
    long = recipe.load("good")
    assert long.tasks["search"] == Task(
        template="search: {query} </s>",
        separator=" ; ",
        n=5,
        num_beams=4,
        preserve=["numbers", "negation"],
        min_score=-1.5,
        max_query_tokens=64,
        languages=["en"],
        rewrite_code=False,
        truncate="left",
    )
    assert long.tasks["search"].render("a") == "search: a </s>"
    assert long.prefixes == {"search": "search: "}
    assert (long.separators, short.separators) == ({"search": " ; "}, {})
    assert long.rerank is not None
    assert long.rerank.positive == "true"


def test_an_installed_wheels_recipes_win(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = root / "bundled"
    (bundled / "recipes").mkdir(parents=True)
    monkeypatch.setattr(recipe, "BUNDLED", bundled)
    write(root, GOOD)
    write(bundled, GOOD.replace("good", "other"), "other")
    assert recipe.names() == ["other"]
    (bundled / "models").mkdir()
    (bundled / "models" / "other-Q8_0.gguf").touch()
    assert recipe.load("other").model_path() == bundled / "models" / "other-Q8_0.gguf"


@pytest.mark.parametrize("name", ["Good", "goods", "good-"])
def test_a_misspelt_name_gets_the_nearest(root: Path, name: str) -> None:
    """The message asks for the one that is spelled alike."""
    write(root, GOOD)
    write(root, GOOD.replace("good", "other"), "other")
    with pytest.raises(RecipeError, match=r"did you mean good\?"):
        recipe.load(name)


@pytest.mark.parametrize("name", ["none", "../other/good", ""])
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
        ('repo = "owner/good"', 'repo = "good"', "expected owner/name"),
        ('file = "good-Q8_0.gguf"', 'file = "../good.gguf"', "the name of a GGUF file"),
        ('file = "good-Q8_0.gguf"', 'file = "good.bin"', "the name of a GGUF file"),
        ("[tasks]", 'files = ["other.gguf"]\n[tasks]', "not one of source.files"),
        ("[tasks]", "[tasks", "good.toml"),
        ('paraphrase = ""', '"a,b" = ""', "each named by a plain word"),
        ('paraphrase = ""', '"" = ""', "each named by a plain word"),
        ("[tasks]", '[quantisation]\ntoken_embedding_type = "Q3_K"\n[tasks]', "Q3_K"),
        ("[tasks]", "[quantisation]\ntoken_embedding_type = 0\n[tasks]", "token_embedding_type"),
        ("[tasks]", "[generation]\nmax_tokens = 0\n[tasks]", "max_tokens"),
        ("[tasks]", "[generation]\nmax_tokens = 129\n[tasks]", "max_tokens"),
        (SHORT, '[tasks.search]\ntemplate = "a {document"', "template"),
        (SHORT, '[tasks.search]\ntemplate = "{query} {query}"', "twice"),
        (SHORT, '[tasks.search]\nprefix = "a: "', "prefix"),
        (SHORT, "[tasks.search]\nn = 17", "n"),
        (SHORT, "[tasks.search]\nn = true", "n"),
        (SHORT, "[tasks.search]\nmin_score = 0.5", "min_score"),
        (SHORT, '[tasks.search]\npreserve = ["meaning"]', "preserve"),
        (SHORT, '[tasks.search]\nlanguages = ["English"]', "'English'"),
        (SHORT, '[tasks.search]\ntruncate = "right"', "truncate"),
        (SHORT, '[tasks.search]\ntruncate = "document"', "no {document}"),
        (SHORT, '[tasks.search]\ntemplate = "{query}{document}"', "one of them"),
        (
            GOOD[GOOD.index("file") :],
            PART_OF_A_COMPLETION,
            "is no prefix",
        ),
        (SHORT, '[tasks.search]\nseparator = "  "', "expected a mark"),
        (SHORT, '[tasks.search]\nseparator = ";"\ncorrects = true', "no separator"),
        (
            "[tasks]",
            '[rerank]\ntemplate = "{query}"\npositive = "a"\nnegative = "b"\n[tasks]',
            "document",
        ),
        ("[tasks]", '[rerank]\ntemplate = "{query}{document}"\n[tasks]', "positive"),
    ],
    ids=[
        "name",
        "no task",
        "no licence",
        "unknown field",
        "type",
        "repository",
        "file elsewhere",
        "other file",
        "file of another",
        "no TOML",
        "comma in a task",
        "nameless task",
        "embedding type",
        "embedding number",
        "no tokens",
        "too many tokens",
        "no place for a query",
        "two places",
        "unknown key of a task",
        "too many answers",
        "a truth is no number",
        "a score above the best",
        "nothing to preserve",
        "no language code",
        "an end that is not cut",
        "no document to cut",
        "a document beside a query",
        "a completion between two texts",
        "a separator without a mark",
        "a list of corrections",
        "no place for a document",
        "no tokens to compare",
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
