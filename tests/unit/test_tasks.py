"""Templates of tasks: what the encoder gets, and what of it may be cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5engine.messages import Cut
from t5gguf.task_keys import read_tasks, write_keys
from t5gguf.tasks import EncoderInput, Task

CANARD = Task(template="{history} ||| {query}", join=" ||| ", truncate="left")
CONTEXT = Task(template="Context: {history} Question: {query} Rewrite:", join="\n", truncate="left")
TEXTS = st.text(alphabet="ab{}query|histo ", max_size=12)


@pytest.mark.parametrize(
    ("task", "history", "text"),
    [
        (CANARD, [], "and?"),
        (CANARD, ["a"], "a ||| and?"),
        (CANARD, ["a", "b"], "a ||| b ||| and?"),
        (CONTEXT, [], "Context:  Question: and? Rewrite:"),
        (CONTEXT, ["a", "b"], "Context: a\nb Question: and? Rewrite:"),
        (Task(template="ask: {query} [{history}]"), [], "ask: and? []"),
        (Task(template="{query} {history}"), ["a", "b"], "and? a b"),
        (Task(template="{query} {history}"), [], "and?"),
        (Task(template="Title of {document}:"), [], "Title of and?:"),
    ],
)
def test_templates_are_filled(task: Task, history: list[str], text: str) -> None:
    """Turns have the join between them; without turns the join beside them goes, too."""
    assert task.render("and?", history) == text


@given(query=TEXTS, history=st.lists(TEXTS, min_size=1, max_size=3))
def test_braces_are_text(query: str, history: list[str]) -> None:
    """Placeholders that a query or a turn has are not filled."""
    assert CANARD.render(query, history) == " ||| ".join([*history, query])
    task = Task(template="Document: {document} Query:", truncate="document")
    text, cut = task.fill(query)
    assert text == f"Document: {query} Query:"
    assert cut is not None
    assert text[cut.start : cut.end] == query


@pytest.mark.parametrize(
    ("task", "history", "cut"),
    [
        (Task(), [], None),
        (Task(template="ask: {query}?", truncate="left"), [], Cut(5, 7, "left")),
        (Task(template="a {document}!", truncate="document"), [], Cut(2, 4, "right")),
        (CANARD, [], Cut(0, 2, "left")),
        (CANARD, ["a"], Cut(0, 6, "left", [])),
        (CANARD, ["abc", "d", "e"], Cut(0, 20, "left", [8, 14])),
        (CONTEXT, ["abc", "d"], Cut(9, 14, "left", [13])),
    ],
)
def test_what_may_be_cut(task: Task, history: list[str], cut: Cut | None) -> None:
    """Whole turns, oldest first, each with the join after it; else the document or the query."""
    assert task.fill("qq", history).cut == cut


@given(history=st.lists(TEXTS, max_size=4), join=st.sampled_from(["", " ", " ||| "]))
def test_a_cut_at_a_break_is_a_shorter_conversation(history: list[str], join: str) -> None:
    """What is left is what the later turns alone would give."""
    task = Task(template="Turns: {history} ||| {query}", join=join, truncate="left")
    text, cut = task.fill("query", history)
    assert cut is not None
    left = [text[: cut.start] + text[at:] for at in cut.breaks]
    assert left == [task.render("query", history[index:]) for index in range(1, len(history))]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"template": "no place"}, "needs"),
        ({"template": "{history}"}, "needs"),
        ({"template": "{query} {document}"}, "one of them"),
        ({"template": "{query} {query}"}, "twice"),
        ({"truncate": "document"}, "no {document}"),
        ({"template": "{document}", "preserve": ["numbers"]}, "compare answers with a query"),
        ({"template": "{document}", "corrects": True}, "compare answers with a query"),
        ({"template": "{history} {query}", "max_query_tokens": 5}, "counts the whole input"),
    ],
)
def test_tasks_that_contradict_themselves(fields: dict[str, object], message: str) -> None:
    """Are refused, with the reason."""
    with pytest.raises(ValueError, match=message):
        Task(**fields)  # type: ignore[arg-type]


def test_keys_of_a_file() -> None:
    """Prefixes have the key that they always had; a template, its join and its cut have others."""
    tasks = {
        "fix": Task.of_prefix("fix: "),
        "list": Task(template="{query}", separator=" ; ", n=5),
        "standalone": CANARD,
        "doc2query": Task(template="{document}", truncate="document"),
    }
    keys = write_keys(tasks)
    assert keys == {
        "t5serve.tasks": "fix,list,standalone,doc2query",
        "t5serve.prefix.fix": "fix: ",
        "t5serve.prefix.list": "",
        "t5serve.separator.list": " ; ",
        "t5serve.n.list": 5,
        "t5serve.template.standalone": "{history} ||| {query}",
        "t5serve.join.standalone": " ||| ",
        "t5serve.truncate.standalone": "left",
        "t5serve.template.doc2query": "{document}",
        "t5serve.truncate.doc2query": "document",
    }
    assert read_tasks({key: str(value) for key, value in keys.items() if value != ""}) == tasks


@pytest.mark.parametrize("key", ["template", "truncate"])
def test_a_file_s_wrong_keys_are_ignored(key: str) -> None:
    """The task is a prefix then, as it was before these keys."""
    keys = {"t5serve.tasks": "fix", "t5serve.prefix.fix": "fix: ", f"t5serve.{key}.fix": "wrong"}
    assert read_tasks(keys) == {"fix": Task.of_prefix("fix: ")}


def test_an_input_without_a_cut() -> None:
    """What is refused when it is too long has no range."""
    assert Task.of_prefix("a: ").fill("b") == EncoderInput("a: b", None)
