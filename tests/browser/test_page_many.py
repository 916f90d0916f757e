"""Many lines at once, and their answers as files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Route, expect

from support.browsing import REST, Tab, answer_whole, body_of, result_of
from support.serving import Server

LINES = ["who invented the telephone", "https://example.com/a?b=c", "cheap flights to oslo"]


def ask_lines(tab: Tab, lines: list[str]) -> None:
    tab.page.get_by_label("Queries, one a line").fill("\n".join(lines))
    tab.page.get_by_role("button", name="Reformulate all").click()


def open_lines(tab: Tab, server: Server) -> None:
    tab.page.goto(f"{server.url}?view=many")
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")


def state(tab: Tab) -> str:
    """Waits for the end; what is said of it."""
    expect(tab.page.locator("#many-stop")).to_be_hidden()
    expect(tab.page.locator("#many-exports")).to_be_visible()
    return tab.page.locator("#many-state").inner_text()


def answers(tab: Tab) -> list[str]:
    return tab.page.locator("#many-rows tr td:nth-child(3)").all_inner_texts()


def save(tab: Tab, kind: str) -> str:
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name=f"Save as {kind}").click()
    return Path(download.value.path()).read_bytes().decode()


def test_each_line_has_its_answer(server: Server, tab: Tab) -> None:
    """The service's own, in the order of the lines; blank lines are none."""
    open_lines(tab, server)
    ask_lines(tab, [LINES[0], "", *LINES[1:], "  "])
    state(tab)
    with server.client() as client:
        results = [
            client.post("/v1/reformulate", json={"query": line}).json()["results"][0]
            for line in LINES
        ]
    assert json.loads(save(tab, "JSON")) == results
    shown = answers(tab)
    assert len(shown) == 3
    assert shown[0].startswith(results[0]["queries"][0])
    assert shown[1] == "Left as it is, because it is an identifier."


def test_the_answers_as_csv(server: Server, tab: Tab) -> None:
    """A row per reformulation, quoted as RFC 4180 asks; a line without one has the reason."""
    open_lines(tab, server)

    def answer(route: Route) -> None:
        if body_of(route.request)["query"] == 'a, "b"':
            answer_whole(route, "b, a", '\u00e9 "c"', score=-0.25)
        else:
            answer_whole(route, unchanged_reason="name")

    tab.page.route("**/v1/reformulate", answer)
    ask_lines(tab, ['a, "b"', "Nikola Tesla"])
    assert state(tab) == "1 of 2 lines reformulated."
    assert answers(tab)[1] == "Left as it is, because it is a name."
    text = save(tab, "CSV")
    assert text.startswith('query,rank,reformulation,score,changed,reason\r\n"a, ""b""",1,"b, a"')
    assert list(csv.reader(io.StringIO(text)))[1:] == [
        ['a, "b"', "1", "b, a", "-0.25", "true", ""],
        ['a, "b"', "2", '\u00e9 "c"', "-0.25", "true", ""],
        ["Nikola Tesla", "1", "Nikola Tesla", "", "false", "name"],
    ]


def test_settings_hold_for_every_line(server: Server, tab: Tab) -> None:
    """Also those that were made in another view."""
    tab.page.goto(server.url)
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")
    tab.field("n").fill("2")
    tab.page.get_by_role("link", name="Many lines").click()
    tab.page.route("**/v1/reformulate", lambda route: answer_whole(route, "a text"))
    ask_lines(tab, ["a", "b"])
    state(tab)
    bodies = [body_of(one) for one in tab.requests if one.method == "POST"]
    assert sorted(bodies, key=lambda body: body["query"]) == [
        {"query": "a", "n": 2},
        {"query": "b", "n": 2},
    ]


def test_stopping_keeps_what_there_is(server: Server, tab: Tab) -> None:
    """The rest stays without an answer."""
    open_lines(tab, server)
    left = 2

    def answer(route: Route) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            answer_whole(route, "a text")

    tab.page.route("**/v1/reformulate", answer)
    ask_lines(tab, [f"line {number}" for number in range(10)])
    expect(tab.page.locator("#many-state")).to_have_text("Asking: 2 of 10 lines.")
    tab.page.get_by_role("button", name="Stop").locator("visible=true").click()
    assert state(tab) == "Stopped: 2 of 10 lines reformulated."
    assert len(json.loads(save(tab, "JSON"))) == 2


def test_a_line_that_fails_says_why(server: Server, tab: Tab) -> None:
    """The others have their answers; an overload passes by itself."""
    open_lines(tab, server)
    refused: list[str] = []

    def answer(route: Route) -> None:
        query = body_of(route.request)["query"]
        error: dict[str, Any] = {"message": "too long", "type": "x", "param": "query"}
        if query == "bad":
            route.fulfill(status=400, json={"error": {**error, "code": "x"}})
        elif query == "busy" and not refused:
            refused.append(query)
            headers = {"retry-after": "1"}
            route.fulfill(
                status=429, headers=headers, json={"error": {**error, "code": "queue_full"}}
            )
        else:
            answer_whole(route, "a text")

    tab.page.route("**/v1/reformulate", answer)
    ask_lines(tab, ["good", "bad", "busy"])
    assert state(tab) == "2 of 3 lines reformulated, 1 failed."
    assert answers(tab)[1] == "Too long."
    saved = json.loads(save(tab, "JSON"))
    assert saved[1] == {"original": "bad", "error": "Too long."}
    assert "bad,,,,false,Too long." in save(tab, "CSV")


def test_too_many_lines(server: Server, tab: Tab) -> None:
    """The page names the command for them; no line is asked."""
    open_lines(tab, server)
    ask_lines(tab, ["a line"] * 1001)
    expect(tab.page.locator("#many-state")).to_contain_text("t5serve batch")
    assert not [one for one in tab.requests if one.method == "POST"]
    tab.page.get_by_label("Queries, one a line").fill("")
    tab.page.get_by_role("button", name="Reformulate all").click()
    expect(tab.page.get_by_label("Queries, one a line")).to_be_focused()


def test_hostile_lines_and_answers_are_text(server: Server, tab: Tab) -> None:
    """Nothing of them becomes an element."""
    open_lines(tab, server)
    hostile = "<img src=x onerror=alert(1)>"
    result = result_of(hostile, f"{hostile} b")
    tab.page.route(
        "**/v1/reformulate", lambda route: route.fulfill(json={"results": [result], **REST})
    )
    ask_lines(tab, [hostile])
    state(tab)
    assert answers(tab)[0].startswith(f"{hostile} b")
    assert tab.page.locator("#many img").count() == 0
