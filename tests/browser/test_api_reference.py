"""The API reference: reading, searching, copying, trying routes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, expect

from support.browsing import PATIENCE_MS, UNHURRIED_MS, Tab, assert_blameless, watch
from support.serving import Server, start, stop

KEY = "s\u00e9same"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(KEY, encoding="utf-8")
    running = start(api_keys_file=str(file), timeout_ms=UNHURRIED_MS)
    running.wait_until_ready()
    yield running
    stop(running)


def part(tab: Tab, anchor: str) -> Locator:
    return tab.page.locator(".part", has=tab.page.locator(f"#{anchor}"))


def try_route(tab: Tab, anchor: str) -> Locator:
    """Opens the form of a route."""
    route = part(tab, anchor)
    route.locator("summary").first.click()
    form = route.locator(".try")
    form.locator("summary").click()
    return form


def test_routes_and_bodies_are_closed_until_they_are_wanted(server: Server, tab: Tab) -> None:
    """The page is short; a link of the sidebar opens what it names, and so does the address."""
    tab.page.goto(f"{server.url}/docs")
    expect(tab.page.locator(".copied").first).to_be_attached()
    assert tab.page.locator(".part[open]").count() == 0
    assert tab.page.evaluate("document.documentElement.scrollHeight") < 4000
    tab.page.get_by_role("navigation", name="Contents").get_by_text("/v1/reformulate").click()
    expect(part(tab, "post-v1-reformulate")).to_have_attribute("open", "")
    expect(tab.page.get_by_text("The most reformulations of each query")).to_be_visible()
    tab.page.goto(f"{server.url}/docs#UsageBody")
    expect(part(tab, "UsageBody")).to_have_attribute("open", "")
    part(tab, "UsageBody").locator("summary").first.click()
    tab.page.get_by_role("button", name="Open all").click()
    assert tab.page.locator(".part:not([open])").count() == 0
    tab.page.get_by_role("button", name="Close all").click()
    assert tab.page.locator(".part[open]").count() == 0


def test_it_reads_without_javascript(server: Server, browser: Browser) -> None:
    """Routes open and close, links open what they name, and nothing is offered that needs it."""
    with browser.new_context(java_script_enabled=False) as context:
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto(f"{server.url}/docs")
        route = page.locator(".part").first
        route.locator("summary").first.click()
        expect(route.locator("pre").first).to_contain_text("/v1/reformulate")
        expect(route.locator("code", has_text=re.compile("^min_score$")).first).to_be_visible()
        route.get_by_role("link", name="ReformulateResponse").click()
        expect(page.locator("#ReformulateResponse .fields")).to_be_visible()
        assert page.locator("button:visible, input:visible, textarea:visible").count() == 0


def test_examples_have_the_address_of_the_service(server: Server, tab: Tab) -> None:
    """And are copied as they stand."""
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.page.goto(f"{server.url}/docs#post-v1-reformulate")
    example = part(tab, "post-v1-reformulate").locator("pre").first
    expect(example).to_contain_text(f"curl -s {server.url}/v1/reformulate")
    part(tab, "post-v1-reformulate").get_by_role("button", name="Copy").first.click()
    expect(part(tab, "post-v1-reformulate").get_by_text("Copied")).to_be_visible()
    assert tab.page.evaluate("navigator.clipboard.readText()") == example.text_content()


def test_searching(server: Server, tab: Tab) -> None:
    """Shows the parts and the fields that have all words; the end of a search closes them."""
    tab.page.goto(f"{server.url}/docs")
    field = tab.page.get_by_label("Search this page")
    field.fill("diverse groups")
    expect(part(tab, "post-v1-reformulate")).to_have_attribute("open", "")
    expect(tab.page.get_by_role("status").first).to_have_text(re.compile(r"\d+ parts?, \d+ field"))
    expect(part(tab, "get-healthz")).to_be_hidden()
    expect(
        tab.page.get_by_role("navigation", name="Contents").get_by_text("/healthz")
    ).to_be_hidden()
    shown = part(tab, "post-v1-reformulate").locator(".fields > div:visible")
    for row in shown.all():
        assert "groups" in row.inner_text()
    field.fill("no such thing anywhere")
    expect(tab.page.get_by_role("status").first).to_have_text("0 parts, 0 fields")
    assert tab.page.locator(".part:visible").count() == 0
    field.fill("")
    expect(part(tab, "get-healthz")).to_be_visible()
    assert tab.page.locator(".part[open]").count() == 0


def test_trying_a_route(server: Server, tab: Tab) -> None:
    """The example is sent as it stands in the form; the answer and its status are shown."""
    tab.page.goto(f"{server.url}/docs")
    form = try_route(tab, "post-v1-reformulate")
    body = json.loads(form.get_by_label("Body").input_value())
    form.get_by_label("Body").fill(json.dumps({**body, "n": 1}))
    form.get_by_role("button", name="Send POST").click()
    expect(form.locator(".outcome")).to_contain_text("200")
    answer = json.loads(form.locator("pre").inner_text())
    assert answer["results"][0]["original"] == body["query"]
    form.get_by_label("Body").fill(json.dumps({**body, "n": 99}))
    form.get_by_role("button", name="Send POST").click()
    expect(form.locator(".outcome")).to_contain_text("400")
    expect(form.locator("pre")).to_contain_text("invalid_request_error")
    form.get_by_label("Body").fill(json.dumps({**body, "stream": True}))
    form.get_by_role("button", name="Send POST").click()
    expect(form.locator("pre")).to_contain_text("event: done")


def test_trying_a_route_with_a_part_in_its_path(server: Server, tab: Tab) -> None:
    """It is filled in; a GET has no body."""
    tab.page.goto(f"{server.url}/docs")
    form = try_route(tab, "get-v1-models-id")
    assert form.locator("textarea").count() == 0
    form.get_by_label("id").fill("tiny-t5")
    form.get_by_label("id").press("Enter")
    expect(form.locator("pre")).to_contain_text('"id": "tiny-t5"')
    assert tab.requests[-1].url == f"{server.url}/v1/models/tiny-t5"


def test_a_model_that_is_not_served_is_replaced_in_examples(server: Server, tab: Tab) -> None:
    """By the first that is."""
    served = {"data": [{"id": "mine"}]}
    tab.page.route("**/v1/models", lambda route: route.fulfill(json=served))
    tab.page.goto(f"{server.url}/docs#post-v1-completions")
    expect(part(tab, "post-v1-completions").locator("pre").first).to_contain_text('"model": "mine"')
    area = part(tab, "post-v1-completions").locator("textarea")
    assert json.loads(area.input_value())["model"] == "mine"


def test_trying_with_a_key(guarded: Server, context: BrowserContext) -> None:
    """It is kept for the tab, and the page at / has it as well."""
    tab = watch(context.new_page())
    tab.page.goto(f"{guarded.url}/docs")
    form = try_route(tab, "get-v1-models")
    form.get_by_role("button", name="Send GET").click()
    expect(form.locator(".outcome")).to_contain_text("401")
    tab.page.get_by_label("API key").fill(KEY)
    form.get_by_role("button", name="Send GET").click()
    expect(form.locator(".outcome")).to_contain_text("200")
    tab.page.goto(guarded.url)
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")
    assert_blameless(tab)


def test_a_service_that_is_gone(server: Server, tab: Tab) -> None:
    """The form says so."""
    tab.page.goto(f"{server.url}/docs")
    form = try_route(tab, "get-healthz")
    tab.page.route("**/healthz", lambda route: route.abort())
    form.get_by_role("button", name="Send GET").click()
    expect(form.locator(".outcome")).to_have_text("The service does not answer.")


def test_the_keyboard_is_enough(server: Server, tab: Tab) -> None:
    """To skip to the reference, open a route and send its example."""
    tab.page.goto(f"{server.url}/docs")
    expect(tab.page.get_by_label("Search this page")).to_be_visible()
    tab.page.keyboard.press("Tab")
    expect(tab.page.get_by_role("link", name="Skip to the reference")).to_be_focused()
    tab.page.keyboard.press("Enter")
    first = tab.page.locator(".part").first
    press_tab_until(tab, first.locator("> summary"))
    tab.page.keyboard.press("Enter")
    expect(first).to_have_attribute("open", "")
    press_tab_until(tab, first.locator(".try > summary"))
    tab.page.keyboard.press("Enter")
    press_tab_until(tab, first.get_by_role("button", name="Send POST"))
    tab.page.keyboard.press("Enter")
    expect(first.locator(".outcome")).to_contain_text("200")


def press_tab_until(tab: Tab, target: Locator) -> None:
    """Presses the key until the element has the focus, five times at most."""
    for _ in range(5):
        tab.page.keyboard.press("Tab")
        if target.evaluate("(element) => element === document.activeElement"):
            return
    pytest.fail(f"not reached by the keyboard: {target}")
