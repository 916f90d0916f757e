"""Answers that are lists of queries, as a visitor sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from support import listed
from support.browsing import UNHURRIED_MS, Tab
from support.conversions import convert_lists
from support.serving import Server, start, stop


@pytest.fixture(scope="module")
def list_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = convert_lists(tmp_path_factory.mktemp("listed"))
    running = start(model=str(file), timeout_ms=UNHURRIED_MS)
    running.wait_until_ready()
    yield running
    stop(running)


def test_an_answer_of_several_queries(list_server: Server, tab: Tab) -> None:
    """One score for the whole answer, the tokens of each query, and no words said to be removed."""
    tab.page.goto(list_server.url)
    expect(tab.page.locator("#state")).to_contain_text("Ready")
    tab.ask(listed.TESLA)
    assert tab.outcome().startswith("2 queries in ")
    assert tab.texts() == ["nikola tesla lifespan", "milutin milankovic lifespan"]
    first, second = tab.side().locator(".about").all()
    expect(first.locator(".score")).to_have_attribute(
        "title", re.compile("the whole answer's tokens")
    )
    expect(first).to_contain_text("5 tokens")
    expect(second).to_contain_text("8 tokens")
    assert second.locator(".score").count() == 0
    assert tab.side().locator(".about del").count() == 0
    tab.field("n").fill("3")
    tab.ask(listed.TESLA)
    assert tab.outcome().startswith("3 queries of 2 answers in ")
    assert tab.side().locator(".about .score").count() == 2


@pytest.mark.parametrize(
    ("query", "outcome", "text"),
    [
        ("weather in oslo", "Left as it is, because ", "weather in oslo"),
        ("dogs of two sizes", "2 queries in ", "big dogs"),
        ("how do i bake sourdough without a dutch oven", "1 query in ", "bake "),
    ],
)
def test_other_answers(list_server: Server, tab: Tab, query: str, outcome: str, text: str) -> None:
    """An answer of one query, and none."""
    tab.page.goto(list_server.url)
    expect(tab.page.locator("#state")).to_contain_text("Ready")
    tab.ask(query)
    assert tab.outcome().startswith(outcome)
    assert tab.texts()[0].startswith(text)


def test_the_included_model_gives_searches(tab: Tab) -> None:
    """Its first task is chosen, and splits a comparison."""
    running = start(timeout_ms=UNHURRIED_MS)
    try:
        running.wait_until_ready()
        tab.page.goto(running.url)
        expect(tab.page.locator("#state")).to_contain_text("Ready")
        expect(tab.side().locator("input[name$='-task']").first).to_be_attached()
        tab.ask("which is longer, the rhine or the danube")
        assert tab.outcome().startswith("2 queries in ")
        assert tab.texts() == ["rhine length", "danube length"]
    finally:
        stop(running)
