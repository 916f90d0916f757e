"""axe-core on the page and the API reference, in both themes, large and small."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from support.browsing import (
    PATIENCE_MS,
    Tab,
    answer_whole,
    answer_with,
    assert_blameless,
    result_of,
    stream,
    watch,
)
from support.serving import Server

QUERY = "how do i clean a laptop screen"
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 375, "height": 812}}
Scheme = Literal["light", "dark"]


def violations(tab: Tab) -> list[Any]:
    found = Axe().run(tab.page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]


def visit(browser: Browser, scheme: Scheme, size: str) -> Tab:
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": SIZES[size]["width"], "height": SIZES[size]["height"]},
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    return watch(context.new_page())


def fits(tab: Tab) -> bool:
    """Nothing sticks out to the side."""
    root = "document.documentElement"
    return bool(tab.page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_is_accessible(
    server: Server, browser: Browser, scheme: Scheme, size: str
) -> None:
    """As it opens; with two answers, all parameters and code; with an error; with the dialog."""
    tab = visit(browser, scheme, size)
    page = tab.page
    page.goto(server.url)
    expect(page.locator("#state")).to_have_text("Ready: tiny-t5")
    assert violations(tab) == []
    page.get_by_label("Compare two settings").check()
    tab.field("strategy", "B").select_option("diverse_beam")
    tab.ask(QUERY)
    for name in ("A", "B"):
        tab.outcome(name)
        tab.open_parameters(name)
        tab.side(name).get_by_text("Copy as code").click()
    assert violations(tab) == []
    assert fits(tab)
    tab.field("n", "B").fill("5")
    tab.field("num_beams", "B").fill("2")
    tab.ask(QUERY)
    expect(tab.side("B").locator(".wrong")).to_be_visible()
    assert violations(tab) == []
    page.evaluate("document.getElementById('key-dialog').showModal()")
    assert violations(tab) == []
    assert_blameless(tab)
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_other_answers_are_accessible(
    server: Server, browser: Browser, scheme: Scheme, size: str
) -> None:
    """A query that is left alone, with what the guards kept out; a fallback; no key."""
    tab = visit(browser, scheme, size)
    page = tab.page
    page.goto(server.url)
    expect(page.locator("#state")).to_have_text("Ready: tiny-t5")
    tab.ask("https://example.com")
    tab.outcome()
    for summary in ("What did the guards keep out?", "What the times mean"):
        tab.side().locator("summary", has_text=summary).click()
    expect(tab.side().locator(".verdict")).not_to_contain_text("Asking")
    assert violations(tab) == []
    assert fits(tab)
    fallback = result_of("a", fallback=True, fallback_reason="queue_full", unchanged_reason="name")
    page.route("**/v1/reformulate", lambda route: stream(route, fallback))
    page.route("**/v1/models", lambda route: route.fulfill(status=401, json={}))
    page.goto(f"{server.url}?q=a")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(tab) == []
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text("Key needed")
    assert violations(tab) == []
    assert fits(tab)
    assert_blameless(tab)
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_other_views_are_accessible(
    server: Server, browser: Browser, scheme: Scheme, size: str
) -> None:
    """Before there is an answer, and with one."""
    tab = visit(browser, scheme, size)
    page = tab.page
    page.goto(f"{server.url}?view=find")
    expect(page.locator("#state")).to_have_text("Ready: tiny-t5")
    expect(page.locator("#found")).to_contain_text("Ask something")
    assert violations(tab) == []
    page.route("**/v1/reformulate", lambda route: answer_whole(route, "refund time", "money back"))
    page.locator("#find-examples button").first.click()
    expect(page.locator("#ranks")).to_be_visible()
    page.locator("#lines-title").click()
    assert violations(tab) == []
    assert fits(tab)
    page.get_by_role("link", name="Many lines").click()
    page.get_by_label("Queries, one a line").fill("a\nb" + "c" * 100)
    page.get_by_role("button", name="Reformulate all").click()
    expect(page.locator("#many-exports")).to_be_visible()
    assert violations(tab) == []
    assert fits(tab)
    assert_blameless(tab)
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_reference_is_accessible(
    server: Server, browser: Browser, scheme: Scheme, size: str
) -> None:
    """Closed, all of it open, searched, with an answer of a route that was tried."""
    tab = visit(browser, scheme, size)
    page = tab.page
    page.goto(f"{server.url}/docs")
    expect(page.locator(".copied").first).to_be_attached()
    assert violations(tab) == []
    assert fits(tab)
    page.get_by_role("button", name="Open all").click()
    page.locator(".try > summary").first.click()
    page.get_by_role("button", name="Send POST").first.click()
    expect(page.locator(".try pre").first).to_be_visible()
    assert violations(tab) == []
    assert fits(tab)
    page.get_by_label("Search this page").fill("beams")
    assert violations(tab) == []
    assert_blameless(tab)
    page.context.close()


def test_the_check_is_alive(server: Server, browser: Browser) -> None:
    """It finds a picture without a text, and a text that can't be read."""
    tab = visit(browser, "light", "desktop")
    tab.page.goto(server.url)
    tab.page.evaluate(
        "document.querySelector('.brand img').removeAttribute('alt');"
        "document.querySelector('h1').style.color = '#eeeeee';"
    )
    assert {name for name, _ in violations(tab)} == {"image-alt", "color-contrast"}
    tab.page.context.close()


def test_an_answer_is_announced(server: Server, tab: Tab) -> None:
    """To a screen reader: the outcome once, not each word of it; trouble as an alert."""
    tab.page.goto(server.url)
    tab.page.route("**/v1/reformulate", lambda route: answer_with(route, text="a text"))
    tab.ask(QUERY)
    tab.outcome()
    expect(tab.side().get_by_role("status")).to_have_text("1 reformulation in 1 ms")
    expect(tab.side().get_by_role("list")).to_contain_text("a text")
    assert tab.side().locator(".reformulations").get_attribute("aria-live") is None
    tab.page.unroute("**/v1/reformulate")
    tab.ask("best running shoes " * 600)
    expect(tab.side().get_by_role("alert")).to_contain_text("at most")
