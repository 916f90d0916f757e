"""The state of the page in its address."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from support.browsing import Tab, answer_whole
from support.serving import Server

QUERY = "how do i clean a laptop screen"


def search_of(tab: Tab) -> str:
    return str(tab.page.evaluate("location.search"))


def test_what_is_asked_stands_in_the_address(server: Server, tab: Tab) -> None:
    """Query, task, number and other settings; whoever opens it sees the same answer."""
    tab.page.goto(server.url)
    expect(tab.page.locator("#state")).to_have_text(re.compile("Ready: "))
    tab.side().get_by_role("radio", name="fix").check()
    tab.field("n").fill("2")
    tab.open_parameters()
    tab.side().get_by_label("capitalised").check()
    tab.ask(QUERY)
    tab.outcome()
    search = search_of(tab)
    assert search == "?q=how+do+i+clean+a+laptop+screen&n=2&preserve=capitalised&task=fix"
    texts = tab.texts()
    tab.page.goto("about:blank")
    tab.page.goto(f"{server.url}/{search}")
    tab.outcome()
    assert tab.texts() == texts
    expect(tab.page.get_by_label("Search query")).to_have_value(QUERY)
    expect(tab.side().get_by_role("radio", name="fix")).to_be_checked()
    expect(tab.field("n")).to_have_value("2")
    first, second = [one.post_data_json for one in tab.requests if one.method == "POST"]
    assert first == second


def test_the_way_back(server: Server, tab: Tab) -> None:
    """An earlier query comes back with the browser's button."""
    tab.page.goto(server.url)
    tab.ask(QUERY)
    tab.outcome()
    tab.ask("best running shoes")
    tab.outcome()
    tab.page.go_back()
    expect(tab.page.get_by_label("Search query")).to_have_value(QUERY)
    tab.outcome()
    assert search_of(tab) == "?q=how+do+i+clean+a+laptop+screen"


def test_views_have_addresses(server: Server, tab: Tab) -> None:
    """The settings go along; a plain address is that of one query."""
    tab.page.goto(f"{server.url}?view=find&n=2")
    expect(tab.page.get_by_role("link", name="Does it find more?")).to_have_attribute(
        "aria-current", "page"
    )
    expect(tab.page.locator("#find .field[data-name=n] input")).to_have_value("2")
    tab.page.get_by_role("link", name="One query").click()
    expect(tab.field("n")).to_have_value("2")
    assert search_of(tab) == "?n=2"
    expect(tab.page.locator("#find")).to_be_hidden()
    tab.page.get_by_role("link", name="Many lines").click()
    assert search_of(tab) == "?n=2&view=many"
    expect(tab.page.get_by_label("Search query")).to_be_hidden()


@pytest.mark.parametrize(
    "search",
    [
        "?task=nonsense&n=many&strategy=x&num_beams=&strict=maybe&other=1&view=none",
        "?stream=true&queries=a&query=b&model=none",
        "?preserve=numbers&preserve=",
        "?%00=%ff&n=Infinity",
    ],
)
def test_nonsense_in_the_address(server: Server, tab: Tab, search: str) -> None:
    """What does not exist is passed over, and the page works."""
    tab.page.goto(f"{server.url}/{search}")
    expect(tab.page.locator("#state")).to_have_text(re.compile("Ready: "))
    tab.page.route("**/v1/reformulate", lambda route: answer_whole(route, "a"))
    with tab.page.expect_request("**/v1/reformulate") as sent:
        tab.ask(QUERY)
    body = sent.value.post_data_json
    kept = {"preserve": ["numbers"]} if "numbers" in search else {}
    assert body == {"query": QUERY, "stream": True, **kept}


def test_a_hostile_address_is_text(server: Server, tab: Tab) -> None:
    """Its query is asked, and becomes no element."""
    tab.page.goto(f"{server.url}/?q=%3Cimg%20src=x%20onerror=alert(1)%3E+cat")
    tab.outcome()
    expect(tab.page.get_by_label("Search query")).to_have_value("<img src=x onerror=alert(1)> cat")
    assert tab.page.locator("main img").count() == 0
