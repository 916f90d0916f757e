"""Does it find more? A search in the browser, with the query alone and with reformulations."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import bm25s
import numpy as np
import pytest
from playwright.sync_api import Locator, Route, expect

from support.browsing import Tab, answer_whole, body_of
from support.serving import Server

LINES = [
    "Refunds reach your account within five days",
    "Your account has two days of history",
    "Track a parcel",
    "Money: how we keep your money safe",
]
K1, B = 1.2, 0.75
CODE = "import('./static/bm25.js').then"


def run(tab: Tab, script: str, argument: object = None) -> Any:
    """The result of a script that has the page's module as `bm25`."""
    return tab.page.evaluate(f"(argument) => {CODE}((bm25) => {script})", argument)


def open_search(tab: Tab, server: Server, lines: list[str] = LINES) -> None:
    tab.page.goto(f"{server.url}?view=find")
    expect(tab.page.locator("#state")).to_have_text(re.compile("Ready: "))
    tab.page.get_by_role("radio", name="Your own lines").check()
    tab.page.get_by_label("Lines to search").fill("\n".join(lines))


def search(tab: Tab, query: str) -> None:
    tab.page.get_by_label("Search query").fill(query)
    tab.page.get_by_role("button", name="Search", exact=True).click()


def outcome(tab: Tab) -> Locator:
    return tab.page.locator("#found")


def rows(tab: Tab) -> list[list[str]]:
    return [
        row.locator("td").all_inner_texts() for row in tab.page.locator("#ranks tbody tr").all()
    ]


def test_scores_are_the_formula_s(server: Server, tab: Tab) -> None:
    """Of three lines, calculated by hand: one word that two lines have, one that comes twice."""
    tab.page.goto(server.url)
    lines = [["red", "wool"], ["red", "red", "silk", "hat"], ["blue", "hat", "box"]]
    scores = run(tab, "Array.from(new bm25.Bm25(argument).score(['red']))", lines)
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    first = idf * 1 / (1 + K1 * (1 - B + B * 2 / 3))
    second = idf * 2 / (2 + K1 * (1 - B + B * 4 / 3))
    assert scores == pytest.approx([first, second, 0])
    doubled = run(tab, "Array.from(new bm25.Bm25(argument).score(['red', 'red']))", lines)
    assert doubled == pytest.approx([2 * first, 2 * second, 0])


def test_scores_are_lucene_s(server: Server, tab: Tab) -> None:
    """As bm25s computes them with Lucene's formula, for the samples and their queries."""
    tab.page.goto(server.url)
    samples = tab.page.evaluate("import('./static/samples.js').then(({ SAMPLES }) => SAMPLES)")
    assert len(samples) == 2
    for sample in samples.values():
        words = run(tab, "argument.map((line) => bm25.analyse(line))", sample["lines"])
        retriever = bm25s.BM25(method="lucene", k1=K1, b=B)
        retriever.index(words, show_progress=False)
        for query in sample["queries"]:
            asked = run(tab, "bm25.analyse(argument)", query["text"])
            known = [word for word in asked if word in retriever.vocab_dict]
            expected = retriever.get_scores(known) if known else np.zeros(len(words))
            script = "Array.from(new bm25.Bm25(argument[0]).score(argument[1]))"
            assert run(tab, script, [words, asked]) == pytest.approx(list(expected), abs=1e-5)


def test_words_are_compared_without_case_accents_and_plurals(server: Server, tab: Tab) -> None:
    """Stop words are left out if that is asked for; words of all scripts stay."""
    tab.page.goto(server.url)
    text = "The Cafés' ponies, glass & don't BUSES \u043c\u043e\u0441\u043a\u0432\u0430 2026"
    words = ["cafe", "pony", "glass", "don", "buse", "\u043c\u043e\u0441\u043a\u0432\u0430", "2026"]
    assert run(tab, "bm25.analyse(argument)", text) == words
    assert run(tab, "bm25.analyse(argument, new Set())", text) == ["the", *words]


def test_samples_are_whole(server: Server, tab: Tab) -> None:
    """Some forty lines each, no line twice, and each query has the line that answers it."""
    tab.page.goto(server.url)
    samples = tab.page.evaluate("import('./static/samples.js').then(({ SAMPLES }) => SAMPLES)")
    for sample in samples.values():
        assert len(set(sample["lines"])) == len(sample["lines"]) == 40
        assert max(map(len, sample["lines"])) <= 85
        assert all(query["answer"] in range(40) for query in sample["queries"])


def test_ranks_stand_side_by_side(server: Server, tab: Tab) -> None:
    """With what is new and what moved; scores add up with the weight of a reformulation."""
    open_search(tab, server)
    tab.page.route("**/v1/reformulate", lambda route: answer_whole(route, "refund account days"))
    search(tab, "when is my money on my account")
    expect(outcome(tab)).to_contain_text("The query alone finds 3 lines.")
    expect(outcome(tab)).to_contain_text(
        "With 1 reformulation: no other line; 2 lines have another"
    )
    assert rows(tab) == [
        ["1", "1", "same", LINES[3]],
        ["3", "2", "up 1", LINES[0]],
        ["2", "3", "down 1", LINES[1]],
    ]
    expect(tab.page.locator("#ranks ins")).to_have_text(["Refunds", "days", "days"])
    tab.page.get_by_label("Weight of a reformulation").fill("0")
    assert [row[2] for row in rows(tab)] == ["same", "same", "same"]
    tab.page.get_by_label("Weight of a reformulation").fill("1")
    assert rows(tab)[0][3] == LINES[0]


def test_lines_that_only_a_reformulation_finds_are_new(server: Server, tab: Tab) -> None:
    """The query alone has no rank for them; a query that is known says which line answers it."""
    tab.page.goto(f"{server.url}?view=find")
    expect(tab.page.locator("#state")).to_have_text(re.compile("Ready: "))
    tab.page.route("**/v1/reformulate", lambda route: answer_whole(route, "refund time"))
    tab.page.get_by_role("group", name="Queries for").get_by_role("button").first.click()
    expect(outcome(tab)).to_contain_text("not found by the query alone, at rank")
    row = tab.page.locator("#ranks tr", has_text="Refunds reach")
    expect(row).to_contain_text("new")
    expect(row).to_contain_text("answers the query")
    expect(row.locator("td").first).to_have_text("\u2013")


def test_a_query_that_is_left_alone(server: Server, tab: Tab) -> None:
    """The reason is said, and both rankings are the same."""
    open_search(tab, server)
    tab.page.route("**/v1/reformulate", lambda route: answer_whole(route, unchanged_reason="name"))
    search(tab, "account")
    expect(outcome(tab)).to_contain_text("Left as it is, because it is a name.")
    assert [row[:3] for row in rows(tab)] == [["1", "1", "same"], ["2", "2", "same"]]


def test_the_service_s_own_reformulations(server: Server, tab: Tab) -> None:
    """Three of them unless another number is set, as the guide to searches asks for."""
    open_search(tab, server)
    search(tab, "how do i clean a laptop screen")
    expect(outcome(tab)).to_contain_text("The query alone finds")
    with server.client() as client:
        body = {"query": "how do i clean a laptop screen", "n": 3}
        (result,) = client.post("/v1/reformulate", json=body).json()["results"]
    shown = tab.page.locator(".searched li span").all_inner_texts()
    assert shown == [result["original"], *result["queries"]]
    tab.page.locator("#find-settings .field[data-name=n] input").fill("1")
    with tab.page.expect_request("**/v1/reformulate") as sent:
        search(tab, "how do i clean a laptop screen")
    assert body_of(sent.value)["n"] == 1


def test_nothing_but_the_query_leaves_the_browser(server: Server, tab: Tab) -> None:
    """No request has a line, and none goes to another path than the service's own."""
    open_search(tab, server, ["a secret line of mine", "another confidential one"])
    search(tab, "secret")
    expect(outcome(tab)).to_contain_text("The query alone finds 1 line.")
    paths = {one.url.removeprefix(server.url).split("?")[0] for one in tab.requests}
    own = {"/", "/openapi.json", "/v1/models", "/readyz", "/metrics", "/v1/reformulate"}
    assert {path for path in paths if not path.startswith("/static/")} == own
    sent = json.dumps([[one.url, one.post_data] for one in tab.requests])
    assert "mine" not in sent
    assert "confidential" not in sent
    stored = tab.page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }])")
    assert "confidential" not in stored


def test_lines_change_and_are_searched_again(server: Server, tab: Tab) -> None:
    """Without asking the service again; samples are not changed."""
    open_search(tab, server)
    tab.page.route("**/v1/reformulate", lambda route: answer_whole(route, "parcels"))
    search(tab, "parcel")
    expect(outcome(tab)).to_contain_text("finds 1 line.")
    before = len([one for one in tab.requests if one.method == "POST"])
    tab.page.get_by_label("Lines to search").fill("parcels\nA parcel\nnothing")
    expect(outcome(tab)).to_contain_text("finds 2 lines.")
    tab.page.get_by_label("Lines to search").fill("")
    expect(outcome(tab)).to_contain_text("Paste some lines")
    tab.page.get_by_role("radio", name="shop").check()
    expect(outcome(tab)).to_contain_text("The query alone finds")
    assert not tab.page.get_by_label("Lines to search").is_editable()
    tab.page.get_by_role("radio", name="Your own lines").check()
    expect(outcome(tab)).to_contain_text("Paste some lines")
    assert len([one for one in tab.requests if one.method == "POST"]) == before


@pytest.mark.parametrize("line", ["<img src=x onerror=alert(1)> cat", "</td><script>cat</script>"])
def test_hostile_lines_are_text(server: Server, tab: Tab, line: str) -> None:
    """Nothing of a line becomes an element."""
    open_search(tab, server, [line])
    tab.page.route("**/v1/reformulate", lambda route: answer_whole(route, "dogs"))
    search(tab, "cat")
    expect(outcome(tab)).to_contain_text("finds 1 line.")
    assert rows(tab) == [["1", "1", "same", line]]
    assert tab.page.locator("#ranks :is(img, script)").count() == 0


def refuse(route: Route) -> None:
    error = {"message": "num_beams is too high", "type": "x", "param": "num_beams", "code": "x"}
    route.fulfill(status=400, json={"error": error})


def test_errors_are_said(server: Server, tab: Tab) -> None:
    """At the field at fault as well; a question that is stopped says so."""
    open_search(tab, server)
    tab.page.route("**/v1/reformulate", refuse)
    search(tab, "parcel")
    expect(outcome(tab)).to_contain_text("num_beams is too high.")
    expect(tab.page.locator("#find-settings .wrong .help")).to_have_text("num_beams is too high")
    tab.page.unroute("**/v1/reformulate")
    tab.page.route("**/v1/reformulate", lambda _route: None)  # never answered
    search(tab, "parcel")
    tab.page.get_by_role("button", name="Stop").click()
    expect(outcome(tab)).to_have_text("Stopped.")
