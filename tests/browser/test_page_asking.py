"""Asking: typing, streaming, history, hostile text, keys of the keyboard."""

from __future__ import annotations

import re
from functools import partial

import pytest
from playwright.sync_api import BrowserContext, expect

from support.browsing import Tab, answer_with, assert_blameless, watch
from support.serving import Server

QUERY = "how do i clean a laptop screen"
HOSTILE = [
    "<img src=x onerror=alert(1)> how to <b>learn</b>",
    "</script><script>alert(2)</script> best shoes",
    "\u202eshoes running best \u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u0643\u064a\u0641",
    "javascript:alert(3) &lt;i&gt; \"quotes' `ticks` ${x}",
]
RECORDER = """
window.shown = [];
new MutationObserver(() => {
  const text = document.querySelector(".text")?.textContent ?? "";
  const isBusy = document.querySelector("[aria-busy]") !== null;
  if (text !== window.shown.at(-1)?.text) window.shown.push({ text, isBusy });
}).observe(document, { subtree: true, childList: true, characterData: true });
"""


def test_a_query_typed_gives_reformulations(server: Server, tab: Tab) -> None:
    """With scores, source, changed words, and where the time went."""
    tab.page.goto(server.url)
    expect(tab.page.locator("#state")).to_have_text(re.compile("Ready: tiny-t5"))
    tab.field("n").fill("3")
    tab.ask(QUERY)
    assert tab.outcome().startswith("3 reformulations in ")
    with server.client() as client:
        answer = client.post("/v1/reformulate", json={"query": QUERY, "n": 3}).json()
    (result,) = answer["results"]
    assert tab.texts() == result["queries"]
    about = tab.page.locator(".about").first.inner_text()
    score = f"{result['reformulations'][0]['score']:.3f}".replace("-", "\u2212")
    assert f"score {score}" in about
    assert "model" in about
    changed = tab.page.locator(".text").first.locator("ins").all_inner_texts()
    assert all(words in result["queries"][0] for words in changed)
    assert {word for words in changed for word in words.split()} - {*QUERY.split()}
    for phase in ("queue", "tokenize", "encode", "decode", "total"):
        expect(tab.page.locator(f".latency .{phase} dd")).to_have_text(
            re.compile(r"^<?[\d.,]+ ms$")
        )


def test_text_is_shown_as_it_comes(server: Server, tab: Tab) -> None:
    """Before the answer is whole there is its beginning, and then more of it."""
    tab.page.add_init_script(RECORDER)
    tab.page.goto(server.url)
    tab.field("strategy").select_option("greedy")
    tab.open_parameters()
    tab.side().get_by_label("none of these").check()  # a guard looks at the whole text
    tab.ask(QUERY)
    tab.outcome()
    (final,) = tab.texts()
    shown = tab.page.evaluate("window.shown.filter((one) => one.isBusy).map((one) => one.text)")
    begun = [text for text in shown if text]
    assert len({text for text in begun if text != final}) >= 2
    assert all(final.startswith(text) for text in begun)
    painted = "performance.getEntriesByName('answer-painted')[0]?.startTime"
    look = f"() => {painted} ? done({painted}) : setTimeout(look)"
    seen = tab.page.evaluate(f"new Promise((done) => {{ const look = {look}; look(); }})")
    arrived = tab.page.evaluate("performance.getEntriesByName('answer-arrived')[0].startTime")
    assert seen > arrived


def test_examples(server: Server, tab: Tab) -> None:
    """One click asks."""
    tab.page.goto(server.url)
    example = tab.page.get_by_role("group", name="Examples").get_by_role("button").nth(1)
    example.click()
    tab.outcome()
    expect(tab.page.get_by_label("Search query")).to_have_value(example.inner_text())


def test_nothing_typed_asks_nothing(server: Server, tab: Tab) -> None:
    """Blanks neither."""
    tab.page.goto(server.url)
    expect(tab.page.locator("#state")).to_have_text(re.compile("Ready"))
    tab.ask("  \n ")
    expect(tab.page.get_by_label("Search query")).to_be_focused()
    assert not [one for one in tab.requests if one.method == "POST"]


def test_stopping(server: Server, tab: Tab) -> None:
    """What is under way can be stopped, and something else asked."""
    tab.page.goto(server.url)
    tab.page.route("**/v1/reformulate", lambda _route: None)  # never answered
    tab.ask(QUERY)
    tab.page.get_by_role("button", name="Stop").click()
    expect(tab.page.get_by_text("Stopped.")).to_be_visible()
    tab.page.unroute("**/v1/reformulate")
    tab.ask(QUERY)
    tab.outcome()
    expect(tab.page.get_by_role("button", name="Stop")).to_be_hidden()


def test_the_last_question_counts(server: Server, tab: Tab) -> None:
    """One that is asked before another is answered takes its place."""
    tab.page.goto(server.url)
    expect(tab.page.locator("#state")).to_have_text(re.compile("Ready"))
    tab.page.route("**/v1/reformulate", lambda _route: None, times=1)  # never answered
    tab.ask("best running shoes")
    expect(tab.side().locator(".outcome")).to_have_text(re.compile("^Asking|^No answer"))
    tab.ask(QUERY)
    tab.outcome()
    expect(tab.page.locator(".asked")).to_have_text(QUERY)
    assert tab.page.get_by_text("Stopped.").count() == 0


@pytest.mark.parametrize("query", HOSTILE)
def test_hostile_text_is_text(server: Server, tab: Tab, query: str) -> None:
    """In the answer, in the history, in code: nothing of it becomes an element, or runs."""
    tab.page.goto(server.url)
    elements = "document.querySelectorAll('img, script, b, i').length"
    before = tab.page.evaluate(elements)
    tab.open_parameters()
    tab.field("include_original").check()
    tab.ask(query)
    tab.outcome()
    assert tab.texts()[0] == query
    tab.page.reload()
    tab.page.locator(".entry").click()
    tab.outcome()
    assert tab.texts()[0] == query
    tab.side().get_by_text("Copy as code").click()
    expect(tab.page.locator("pre:visible")).to_contain_text(query[:8])
    assert tab.page.evaluate(elements) == before


def test_hostile_answers_are_text(server: Server, tab: Tab) -> None:
    """Whatever a model says."""
    tab.page.goto(server.url)
    for text in HOSTILE:
        tab.page.route("**/v1/reformulate", partial(answer_with, text=text))
        tab.ask(QUERY)
        expect(tab.page.locator(".text")).to_have_text(text)
        tab.page.unroute("**/v1/reformulate")
    assert tab.page.locator(".text img, .text script, .text b").count() == 0


def test_ten_thousand_characters(server: Server, tab: Tab) -> None:
    """More than the service takes: it says so. As an answer they do not burst the page."""
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.page.goto(server.url)
    tab.ask("best running shoes " * 600)
    expect(tab.page.locator(".fault:visible")).to_contain_text("at most")
    long = "shoe" * 2500
    tab.page.route("**/v1/reformulate", partial(answer_with, text=long))
    tab.ask(QUERY)
    expect(tab.page.locator(".text")).to_have_text(long)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_history_stays_in_the_browser(server: Server, context: BrowserContext, tab: Tab) -> None:
    """It is there after a reload, brings settings back, and can be cleared."""
    tab.page.goto(server.url)
    tab.field("n").fill("2")
    tab.ask(QUERY)
    tab.outcome()
    tab.field("n").fill("1")
    tab.ask("best running shoes")
    tab.outcome()
    tab.page.reload()
    expect(tab.page.locator(".asked")).to_have_text(["best running shoes", QUERY])
    tab.outcome()  # of the query in the address
    tab.page.locator(".entry").nth(1).click()
    expect(tab.page.get_by_label("Search query")).to_have_value(QUERY)
    tab.outcome()
    asked = [one.post_data_json for one in tab.requests if one.method == "POST"]
    assert asked[3] == asked[0] == {"query": QUERY, "n": 2, "stream": True}
    expect(tab.field("n")).to_have_value("2")
    expect(tab.page.get_by_label("Search query")).to_have_value(QUERY)
    tab.page.get_by_role("button", name="Clear history").click()
    tab.page.goto(server.url)  # a reload would ask the query in the address, and keep it
    expect(tab.page.locator("#history")).to_contain_text("stays here")
    assert tab.page.evaluate("localStorage.length") == 0
    assert not context.cookies()


BROKEN_STORAGE = [
    "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };",
    "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no'); } });",
    "localStorage.setItem('t5serve.history', '{not json');",
    """localStorage.setItem('t5serve.history', '[1, {"query": "a", "sides": [null]}, null]');""",
]


@pytest.mark.parametrize("script", BROKEN_STORAGE)
def test_without_storage(server: Server, tab: Tab, script: str) -> None:
    """Full, refused, or spoilt: the page works, and keeps a history while it is open."""
    tab.page.add_init_script(script)
    tab.page.goto(server.url)
    tab.ask(QUERY)
    tab.outcome()
    expect(tab.page.locator(".asked")).to_have_text(QUERY)


def test_the_keyboard_is_enough(server: Server, tab: Tab) -> None:
    """From the skip link to the answer, the parameters and the theme."""
    page = tab.page
    page.goto(server.url)
    expect(page.locator("#state")).to_have_text(re.compile("Ready"))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the query")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Search query")).to_be_focused()
    page.keyboard.type(QUERY)
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("please")
    page.keyboard.press("Enter")
    tab.outcome()
    expect(page.get_by_label("Search query")).to_have_value(f"{QUERY}\nplease")
    visited = []
    for _ in range(30):
        page.keyboard.press("Tab")
        visited.append(page.evaluate("document.activeElement.textContent.trim().split('\\n')[0]"))
        if "Copy as code" in visited[-1]:
            break
    wanted = ["Reformulate", "Copy", "All parameters", "Copy as code"]
    places = [visited.index(name) for name in wanted]
    assert places == sorted(places)
    page.keyboard.press("Enter")
    expect(page.locator("pre:visible")).to_contain_text("curl")
    page.get_by_role("button", name="theme").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_until_it_is_chosen(
    server: Server, tab: Tab, scheme: str
) -> None:
    """And the choice holds on the API's page, too."""
    page = tab.page
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(server.url)
    ground = "getComputedStyle(document.body).backgroundColor"
    own = page.evaluate(ground)
    page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
    assert page.evaluate(ground) != own
    switch = page.get_by_role("button", name="theme")
    switch.click()
    if scheme == "dark":
        switch.click()
    expect(page.locator("html")).to_have_attribute("data-theme", scheme)
    assert page.evaluate(ground) == own
    page.get_by_role("link", name="API").click()
    expect(page.get_by_role("heading", name="Bodies")).to_be_visible()
    assert page.evaluate(ground) == own


def test_two_tabs_know_nothing_of_each_other(server: Server, context: BrowserContext) -> None:
    """Answers do not mix."""
    one, other = watch(context.new_page()), watch(context.new_page())
    for tab in (one, other):
        tab.page.goto(server.url)
    one.ask(QUERY)
    one.outcome()
    expect(other.page.locator(".outcome:visible")).to_have_text("Nothing asked yet.")
    for tab in (one, other):
        assert_blameless(tab)


@pytest.mark.parametrize("cached", [False, True])
def test_an_answer_from_the_cache_says_so(server: Server, tab: Tab, *, cached: bool) -> None:
    """Beside the time of the answer, and below its phases; other answers do not."""
    tab.page.goto(server.url)
    tab.page.route("**/v1/reformulate", partial(answer_with, text="a text", cached=cached))
    tab.ask("a")
    assert tab.outcome().endswith("ms, from the cache") is cached
    note = tab.side().get_by_text("The first text reached this browser").text_content()
    assert note is not None
    assert ("the answer is from the cache" in note) is cached
    assert_blameless(tab)
