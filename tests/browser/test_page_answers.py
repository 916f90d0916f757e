"""What an answer says: what changed, why nothing did, where the time went."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from playwright.sync_api import Route, expect

from support.browsing import Tab, answer_whole, body_of, result_of, stream
from support.serving import Server
from t5serve.errors import (
    ERROR_RESPONSES,
    DeadlineExceeded,
    InputQuarantined,
    NotReady,
    NoUsableOutput,
    QueueFull,
    ServerFault,
)
from t5serve.reformulation.candidates import UnchangedReason

QUERY = "how do i clean a laptop screen"
FALLBACKS = [
    ERROR_RESPONSES[error].code or "server_error"
    for error in (
        DeadlineExceeded,
        InputQuarantined,
        NotReady,
        NoUsableOutput,
        QueueFull,
        ServerFault,
    )
]


def test_every_reason_has_words(server: Server, tab: Tab) -> None:
    """Those of an unchanged query, and the codes of errors that a fallback can have."""
    tab.page.goto(server.url)
    script = """(reason) => import("./static/words.js").then(({ reasonSentence }) =>
        reasonSentence({ unchanged_reason: reason }))"""
    for reason in [*get_args(UnchangedReason), *FALLBACKS]:
        sentence = tab.page.evaluate(script, reason)
        assert re.match(r"Left as it is, because .*[^.]\.$", sentence)
        assert "the service says" not in sentence
    assert "the service says new_reason" in tab.page.evaluate(script, "new_reason")


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("it is a name", {"unchanged_reason": "name"}),
        ("the service failed at it", {"fallback": True, "fallback_reason": "server_error"}),
    ],
)
def test_an_untouched_query_says_why(
    server: Server, tab: Tab, reason: str, fields: dict[str, Any]
) -> None:
    """Nothing is counted above it, and nothing of it is marked."""
    tab.page.goto(server.url)
    tab.page.route("**/v1/reformulate", lambda route: stream(route, result_of("a", **fields)))
    tab.ask("a")
    assert tab.outcome() == f"Left as it is, because {reason}. Answered in 1 ms."
    expect(tab.side().locator(".source")).to_have_text("the query itself")
    assert tab.side().locator("ins, del, .score").count() == 0


def test_what_changed_is_said(server: Server, tab: Tab) -> None:
    """New words are marked and listed, and so are those that were left out."""
    tab.page.goto(server.url)
    result = result_of("how do i clean a laptop", "clean a laptop screen safely", score=-0.0001)
    tab.page.route("**/v1/reformulate", lambda route: stream(route, result))
    tab.ask("how do i clean a laptop")
    assert tab.outcome() == "1 reformulation in 1 ms"
    expect(tab.side().locator(".text ins")).to_have_text("screen safely")
    about = tab.side().locator(".about")
    expect(about).to_contain_text("new: screen safely")
    expect(about).to_contain_text("left out: how do i")
    expect(about.locator(".score")).to_have_text("score 0")


def test_the_original_is_not_counted(server: Server, tab: Tab) -> None:
    """It comes first with include_original, beside the reformulations."""
    tab.page.goto(server.url)
    tab.open_parameters()
    tab.field("include_original").check()
    tab.ask(QUERY)
    assert tab.outcome().startswith("1 reformulation in ")
    assert len(tab.texts()) == 2


def test_what_guards_kept_out(server: Server, tab: Tab) -> None:
    """The same request without guards, asked once, when the reader wants to see it."""
    tab.page.goto(server.url)

    def answer(route: Route) -> None:
        texts = ["clean a tablet", "clean a laptop"]
        if "stream" in body_of(route.request):
            stream(route, result_of(QUERY, texts[1]))
        else:
            assert body_of(route.request)["preserve"] == []
            answer_whole(route, *texts)

    tab.page.route("**/v1/reformulate", answer)
    tab.ask(QUERY)
    tab.outcome()
    tab.side().locator("summary", has_text="What did the guards keep out?").click()
    verdict = tab.side().locator(".verdict")
    expect(verdict).to_contain_text("clean a tablet")
    expect(verdict).to_contain_text("new: tablet")
    expect(verdict).not_to_contain_text("clean a laptop")
    assert len([one for one in tab.requests if one.method == "POST"]) == 2
    tab.open_parameters()
    tab.side().get_by_label("none of these").check()
    tab.ask(QUERY)
    tab.outcome()
    expect(tab.side().locator(".verdict")).to_be_hidden()


def test_times_are_explained(server: Server, tab: Tab) -> None:
    """Each phase has a name in words beside the API's, and a sentence; the rest as well."""
    tab.page.goto(server.url)
    tab.ask(QUERY)
    tab.outcome()
    tab.side().locator("summary", has_text="What the times mean").click()
    meanings = tab.side().locator(".meanings")
    names = meanings.locator("dt code").all_inner_texts()
    assert names == ["queue", "tokenize", "encode", "decode", "other", "total"]
    assert all(text.endswith(".") for text in meanings.locator("dd").all_inner_texts())


def test_the_result_stands_above_the_settings(server: Server, tab: Tab) -> None:
    """On a phone the answer is seen without going past the parameters."""
    tab.page.set_viewport_size({"width": 375, "height": 812})
    tab.page.goto(server.url)
    tab.ask(QUERY)
    tab.outcome()
    result = tab.side().locator(".reformulations").bounding_box()
    settings = tab.side().locator(".settings").bounding_box()
    assert result is not None
    assert settings is not None
    assert result["y"] + result["height"] <= settings["y"]
    assert result["y"] < 812
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 375


def test_the_first_task_of_the_model_is_chosen(server: Server, tab: Tab) -> None:
    """Whatever its tasks are called; their names come from the service."""
    with server.client() as client:
        body = client.get("/v1/models").json()
    body["data"][0]["tasks"] = {"search": "", "fix": "fix: ", "question": "ask: "}
    tab.page.route("**/v1/models", lambda route: route.fulfill(json=body))
    tab.page.goto(server.url)
    expect(tab.side().locator(".task .choice")).to_have_text(["search", "fix", "question"])
    expect(tab.side().get_by_role("radio", name="search")).to_be_checked()
