"""axe-core on the page and the API reference, in both themes, large and small."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from support.browsing import PATIENCE_MS, Tab, answer_with, assert_blameless, watch
from support.serving import Server

QUERY = "how do i clean a laptop screen"
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
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
    tab.side("B").get_by_label("strategy").select_option("diverse_beam")
    tab.ask(QUERY)
    for name in ("A", "B"):
        tab.outcome(name)
        tab.side(name).locator("summary", has_text="Parameters").click()
        tab.side(name).get_by_text("Copy as code").click()
    assert violations(tab) == []
    assert fits(tab)
    tab.side("B").get_by_label("n", exact=True).fill("5")
    tab.side("B").get_by_label("num_beams").fill("2")
    tab.ask(QUERY)
    expect(tab.side("B").locator(".wrong")).to_be_visible()
    assert violations(tab) == []
    page.evaluate("document.getElementById('key-dialog').showModal()")
    assert violations(tab) == []
    assert_blameless(tab)
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_reference_is_accessible(
    server: Server, browser: Browser, scheme: Scheme, size: str
) -> None:
    """All of it."""
    tab = visit(browser, scheme, size)
    tab.page.goto(f"{server.url}/docs")
    assert violations(tab) == []
    assert fits(tab)
    assert_blameless(tab)
    tab.page.context.close()


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
