"""What the page says when the service is loading, overloaded, restarted, guarded or gone."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from support.browsing import UNHURRIED_MS, Tab, assert_blameless, watch
from support.serving import Server, start, stop

QUERY = "how do i clean a laptop screen"
KEY = "s\u00e9same \u30b4\u30de"


@pytest.fixture
def own() -> Iterator[Server]:
    """A service that a test may hurt."""
    running = start(timeout_ms=UNHURRIED_MS)
    running.wait_until_ready()
    yield running
    if running.process.poll() is None:
        stop(running)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(KEY, encoding="utf-8")
    running = start(api_keys_file=str(file), timeout_ms=UNHURRIED_MS)
    running.wait_until_ready()
    yield running
    stop(running)


def refusals(status: int, code: str, times: int) -> Callable[[Route], None]:
    """So many refusals, then the service itself."""
    left = times

    def handle(route: Route) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            route.continue_()
            return
        error = {"message": "the service says no", "type": "x", "param": None, "code": code}
        route.fulfill(status=status, headers={"retry-after": "1"}, json={"error": error})

    return handle


def test_a_key_is_asked_for_and_kept_for_the_tab(guarded: Server, context: BrowserContext) -> None:
    """A wrong one is asked for again; nothing of it stays in the browser."""
    tab = watch(context.new_page())
    page = tab.page
    page.goto(guarded.url)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("needs an API key")
    expect(page.get_by_label("API key", exact=True)).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("was refused")
    page.get_by_label("API key", exact=True).fill(f" {KEY} ")
    page.get_by_role("button", name="Use key").click()
    expect(dialog).to_be_hidden()
    tab.ask(QUERY)
    tab.outcome()
    page.reload()
    tab.ask(QUERY)
    tab.outcome()
    expect(dialog).to_be_hidden()
    expect(page.locator("#live")).not_to_contain_text("key")
    assert KEY not in json.dumps(page.evaluate("Object.entries(localStorage)"))
    other = watch(context.new_page())
    other.page.goto(guarded.url)
    expect(other.page.get_by_role("dialog")).to_be_visible()
    for one in (tab, other):
        assert_blameless(one)


def test_without_a_key(guarded: Server, tab: Tab) -> None:
    """The page stays usable, says what is missing, and takes the key later."""
    page = tab.page
    page.goto(guarded.url)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#live")).to_contain_text("need the API key")
    expect(page.locator("#state")).to_have_text("Key needed")
    expect(page.locator("#notice")).to_contain_text("This service needs an API key.")
    tab.ask(QUERY)
    expect(page.get_by_role("dialog")).to_be_visible()  # once the service has refused
    page.wait_for_timeout(3500)
    expect(tab.side()).not_to_contain_text("No answer")  # the page waits for the user
    page.keyboard.press("Escape")
    expect(page.locator(".fault:visible")).to_contain_text("only with an API key")
    page.get_by_role("button", name="Key", exact=True).click()
    page.get_by_label("API key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("Ready: tiny-t5")
    tab.page.get_by_role("button", name="Enter the key").click()
    tab.outcome()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(429, "queue_full", "overloaded"), (503, "not_ready", "not ready")],
)
def test_what_passes_is_waited_for(
    server: Server, tab: Tab, status: int, code: str, words: str
) -> None:
    """The page says what is wrong and asks again by itself."""
    tab.page.goto(server.url)
    tab.page.route("**/v1/reformulate", refusals(status, code, times=2))
    tab.ask(QUERY)
    expect(tab.side().locator(".outcome")).to_contain_text(words)
    expect(tab.side().locator(".outcome")).to_have_text(re.compile(r"asks again .*[^.]\.$"))
    tab.outcome()
    assert len([one for one in tab.requests if one.method == "POST"]) == 3


def test_an_overload_that_lasts(server: Server, tab: Tab) -> None:
    """After some attempts the page leaves it to the reader."""
    tab.page.goto(server.url)
    tab.page.route("**/v1/reformulate", refusals(429, "queue_full", times=6))
    tab.ask(QUERY)
    expect(tab.page.locator(".fault:visible")).to_contain_text("overloaded")
    tab.page.get_by_role("button", name="Try again").click()
    tab.outcome()


@pytest.mark.parametrize(
    ("status", "code"), [(500, None), (504, "deadline_exceeded"), (422, "input_quarantined")]
)
def test_other_errors_are_told(server: Server, tab: Tab, status: int, code: str) -> None:
    """In the service's words, and not tried again by itself."""
    tab.page.goto(server.url)
    tab.page.route("**/v1/reformulate", refusals(status, code, times=1))
    tab.ask(QUERY)
    expect(tab.page.locator(".fault:visible")).to_contain_text("The service says no.")
    assert len([one for one in tab.requests if one.method == "POST"]) == 1


def test_an_error_within_the_stream(server: Server, tab: Tab) -> None:
    """What was shown gives way to what went wrong."""
    begun = 'event: token\ndata: {"query_index":0,"rank":1,"text":"how"}\n\n'
    error = {"message": "internal error", "type": "x", "param": None, "code": None}
    body = f"{begun}event: error\ndata: {json.dumps({'error': error})}\n\n"
    tab.page.goto(server.url)
    tab.page.route(
        "**/v1/reformulate",
        lambda route: route.fulfill(content_type="text/event-stream", body=body),
    )
    tab.ask(QUERY)
    expect(tab.page.locator(".fault:visible")).to_contain_text("Internal error.")


def test_a_fallback_is_told(server: Server, tab: Tab) -> None:
    """A deadline that can't be met: the query itself, with the reason."""
    tab.page.goto(server.url)
    tab.open_parameters()
    tab.field("timeout_ms").fill("1")
    tab.ask(QUERY)
    tab.outcome()
    assert tab.texts() == [QUERY]
    expect(tab.side().locator(".outcome")).to_contain_text("because the deadline passed")
    expect(tab.side().locator(".source")).to_have_text("the query itself")


def test_loading(server: Server, tab: Tab) -> None:
    """The page waits for the model, and goes on by itself."""
    pattern = re.compile("/readyz|/v1/")
    error = {"message": "the service is loading", "type": "x", "param": None, "code": "not_ready"}
    tab.page.route(pattern, lambda route: route.fulfill(status=503, json={"error": error}))
    tab.page.goto(server.url)
    expect(tab.page.locator("#state")).to_have_text("Loading")
    expect(tab.page.locator("#notice")).to_contain_text("is being loaded")
    tab.ask(QUERY)
    expect(tab.side().locator(".outcome")).to_contain_text("not ready")
    tab.page.unroute(pattern)
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")
    tab.outcome()
    expect(tab.side().get_by_role("radio", name="paraphrase")).to_be_checked()


def kill_worker(server: Server) -> None:
    for pid in server.workers():
        os.kill(pid, signal.SIGKILL)


def test_a_worker_that_is_killed(own: Server, tab: Tab) -> None:
    """The page says that it was started anew, and answers."""
    tab.page.goto(own.url)
    tab.ask(QUERY)
    tab.outcome()
    expect(tab.page.locator("#live")).to_contain_text("/s")
    kill_worker(own)
    expect(tab.page.locator("#notice")).to_contain_text("started anew")
    tab.ask(QUERY)
    tab.outcome()
    assert tab.texts() != [QUERY]
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")


def test_a_worker_that_keeps_dying(own: Server, tab: Tab) -> None:
    """While there is none the page says so, keeps the query, and answers it once there is one."""
    tab.page.goto(own.url)
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")
    for _ in range(4):
        own.wait_until_ready()
        kill_worker(own)
        while own.is_ready():
            pass
    tab.ask(QUERY)
    expect(tab.side().locator(".outcome")).to_contain_text("not ready")
    expect(tab.page.locator("#state")).to_have_text("Restarting")
    expect(tab.page.locator("#notice")).to_contain_text("started anew")
    tab.outcome()
    assert tab.texts() != [QUERY]
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")


def test_a_worker_that_hangs(own: Server, tab: Tab) -> None:
    """The page says what delays the answer; the service starts another worker, and it answers."""
    tab.page.goto(own.url)
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")
    expect(tab.page.locator("#live")).to_contain_text("/s")
    for pid in own.workers():
        os.kill(pid, signal.SIGSTOP)
    tab.ask(QUERY)
    expect(tab.page.locator("#notice")).to_contain_text("started anew")
    tab.outcome()
    assert tab.texts() != [QUERY]


def test_an_answer_that_is_late(server: Server, tab: Tab) -> None:
    """After two seconds the page says for how long there was none, and what the service says."""
    tab.page.goto(server.url)
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")
    tab.page.route("**/v1/reformulate", lambda _route: None)  # never answered
    tab.ask(QUERY)
    line = tab.side().locator(".outcome")
    expect(line).to_have_text(re.compile(r"^No answer for \d+ s\. The model is busy, or"))
    error = {"message": "the service is restarting", "type": "x", "param": None, "code": "x"}
    tab.page.route("**/readyz", lambda route: route.fulfill(status=503, json={"error": error}))
    expect(line).to_contain_text("Another one is being started.")
    expect(tab.page.locator("#state")).to_have_text("Restarting")
    tab.page.get_by_role("button", name="Stop").click()
    expect(tab.page.get_by_text("Stopped.")).to_be_visible()


def test_a_service_that_hangs(own: Server, tab: Tab) -> None:
    """Probes that are not answered count as no answer; afterwards the page goes on."""
    tab.page.goto(own.url)
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")
    own.process.send_signal(signal.SIGSTOP)
    try:
        tab.ask(QUERY)
        expect(tab.page.locator("#state")).to_have_text("Down")
        expect(tab.side().locator(".outcome")).to_contain_text("itself does not respond")
    finally:
        own.process.send_signal(signal.SIGCONT)
    tab.outcome()
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")


def test_a_service_that_goes_and_comes_back(own: Server, tab: Tab) -> None:
    """At the same address; nobody needs to reload."""
    tab.page.goto(own.url)
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")
    stop(own)
    tab.ask(QUERY)
    expect(tab.side().locator(".outcome")).to_contain_text("does not answer")
    expect(tab.page.locator("#state")).to_have_text("Down")
    expect(tab.page.locator("#notice")).to_contain_text("does not answer")
    again = start(port=int(own.url.rsplit(":", 1)[1]), timeout_ms=UNHURRIED_MS)
    try:
        tab.outcome()
        expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")
        expect(tab.page.locator("#notice")).to_contain_text("ready again")
    finally:
        stop(again)


def test_a_hidden_tab_asks_nothing(server: Server, tab: Tab) -> None:
    """In half an hour of being open in the background; in sight it asks now and then."""
    page = tab.page
    page.clock.install()
    page.add_init_script(
        "Object.defineProperty(document, 'hidden', { get: () => Boolean(window.away) });"
    )
    page.goto(server.url)
    expect(page.locator("#state")).to_have_text(re.compile("Ready"))

    def asked() -> int:
        return len([one for one in tab.requests if one.url.endswith(("/metrics", "/readyz"))])

    page.evaluate("window.away = true")
    page.clock.run_for(10_000)
    before = asked()
    page.clock.run_for(60_000)
    assert asked() == before
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.run_for(10_000)
    expect(page.locator("#live")).to_contain_text("/s")
    assert before < asked() < before + 16
