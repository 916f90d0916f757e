"""The list of queries that guards left alone."""

from __future__ import annotations

from t5engine.messages import Output
from t5eval.messages import Answer
from t5eval.quality.losses import (
    LEAST_SCORE,
    Loss,
    explain_loss,
    find_lost_queries,
    format_losses,
)
from t5serve.reformulation.options import Options

OPTIONS = Options(task="ask", n=4, preserve=frozenset({"numbers", "rare"}), min_score=-0.8)


def make_output(text: str, logprob: float) -> Output:
    """A sequence of four tokens."""
    return Output(
        text=text,
        tokens=[5, 6, 7],
        logprob=logprob,
        decoded=4,
        score=logprob,
        finish_reason="stop",
        details=None,
    )


def test_only_guards_lose_queries() -> None:
    """A query that was answered, is good already or is code was not lost to a guard."""
    answers = [
        Answer(["mars distance"]),
        Answer(["best phone"], unchanged_reason="guard"),
        Answer(["a = b"], unchanged_reason="code"),
        Answer(["the sun"], unchanged_reason="already_good"),
    ]
    queries = ["how far is mars", "best phone", "a = b", "the sun"]
    assert find_lost_queries(queries, answers) == ["best phone"]


def test_the_most_probable_candidate_is_explained() -> None:
    """The query's echo and loops are no candidates; without a guard, the score was too low."""
    outputs = [
        make_output("Top 10 films", -0.1),
        make_output("films films films", -0.2),
        make_output("top 100 films", -1.0),
        make_output("top films", -0.5),
    ]
    assert explain_loss("ask", "top 10 films", outputs, OPTIONS) == Loss(
        "ask", "top 10 films", "top films", "numbers"
    )
    unlikely = [make_output("the top 10 films", -9.0)]
    loss = explain_loss("ask", "top 10 films", unlikely, OPTIONS)
    assert loss is not None
    assert loss.guard == LEAST_SCORE
    assert explain_loss("ask", "top 10 films", outputs[:2], OPTIONS) is None


def test_the_list_has_a_table_per_task() -> None:
    """With the number of queries by guard."""
    losses = [
        Loss("ask", "top 10 films", "top films", "numbers"),
        Loss("ask", "red shoes", "blue shoes", "content"),
        Loss("mend", "a|b", "b", "content"),
    ]
    text = format_losses(losses, model="m", page="quality.md", command="run me")
    lines = text.splitlines()
    assert "run me" in lines
    assert "## `ask`: 2 queries" in lines
    assert "By guard: numbers 1, content 1." in lines
    assert "| top 10 films | top films | numbers |" in lines
    assert "## `mend`: 1 queries" in lines
