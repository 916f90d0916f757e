"""Parameters, comparing, and the request as code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from support.browsing import Tab
from support.serving import Server
from t5engine.decoding.parameters import PARAMETERS
from t5serve.http.schemas.reformulate import ReformulateRequest

QUERY = "how do i clean a laptop screen"
QUOTED = """it's "quoted" $HOME `date` \\n \u2028 #1"""
CHOSEN: dict[str, dict[str, Any]] = {
    "greedy": {"repetition_penalty": 1.2, "max_tokens": 20},
    "beam": {"n": 2, "num_beams": 4, "length_penalty": 0.5, "no_repeat_ngram_size": 3},
    "diverse_beam": {"n": 2, "num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.7},
    "sample": {
        "temperature": 0.8,
        "top_k": 20,
        "top_p": 0.9,
        "min_p": 0.05,
        "seed": 7,
        "typical_p": 0.9,
    },
}
INPUT = {"query", "queries", "stream"}
# What is said for two seconds stays: a busy machine may look too late.
PATIENT = "setTimeout = ((real) => (work, ms) => ms === 2000 || real(work, ms))(setTimeout)"


def field(side: Locator, name: str) -> Locator:
    return side.locator(f".field[data-name={name}]")


def fill(side: Locator, values: dict[str, Any]) -> None:
    for name, value in values.items():
        field(side, name).locator("input").fill(str(value))


def open_parameters(side: Locator) -> None:
    side.locator("summary", has_text="All parameters").click()


def test_every_parameter_of_the_contract_is_there(server: Server, tab: Tab) -> None:
    """With a label and a description; a new one turns up by itself."""
    tab.page.goto(server.url)
    expect(tab.side().get_by_role("radio", name="paraphrase")).to_be_attached()
    open_parameters(tab.side())
    names = ReformulateRequest.model_fields.keys() - INPUT - {"task", "model"}
    shown = {row.get_attribute("data-name") for row in tab.side().locator(".field").all()}
    assert shown == names
    for name in names:
        expect(field(tab.side(), name)).to_be_visible()
        assert field(tab.side(), name).locator(".help").inner_text()
        title = field(tab.side(), name).locator("label, .label").first.inner_text().strip()
        assert title.lower() == name or re.fullmatch(rf"[A-Z].+\b{name}", title, re.DOTALL)


@pytest.mark.parametrize("strategy", CHOSEN)
def test_only_what_has_an_effect_is_offered(server: Server, tab: Tab, strategy: str) -> None:
    """The service takes all that is offered, and gets what was typed."""
    tab.page.goto(server.url)
    side = tab.side()
    open_parameters(side)
    fill(side, {"temperature": 0.5})  # of one strategy only: not sent with another
    tab.field("strategy").select_option(strategy)
    for name, row in PARAMETERS.items():
        expect(field(side, name)).to_be_visible(visible=strategy in row.strategies)
    expect(tab.field("n")).to_be_enabled(enabled=strategy != "greedy")
    fill(side, CHOSEN[strategy])
    with tab.page.expect_request("**/v1/reformulate") as sent:
        tab.ask(QUERY)
    expected = {"query": QUERY, "stream": True, "strategy": strategy, **CHOSEN[strategy]}
    assert sent.value.post_data_json == expected
    tab.outcome()


def test_auto_follows_the_parameters(server: Server, tab: Tab) -> None:
    """As the service does: what excludes each other is not offered together."""
    tab.page.goto(server.url)
    side = tab.side()
    open_parameters(side)
    expect(field(side, "num_beams")).to_be_visible()
    fill(side, {"temperature": 0.5})
    expect(field(side, "num_beams")).to_be_hidden()
    expect(side).to_contain_text("means random draws (sample)")
    tab.ask(QUERY)
    tab.outcome()
    fill(side, {"temperature": 1, "num_beam_groups": 2})
    expect(field(side, "temperature")).to_be_hidden()
    expect(side).to_contain_text("means diverse beam search (diverse_beam)")
    tab.ask(QUERY)
    tab.outcome()
    side.get_by_role("button", name="Reset").click()
    expect(field(side, "temperature")).to_be_visible()
    expect(field(side, "temperature").locator("input")).to_have_value("")


def test_candidates(server: Server, tab: Tab) -> None:
    """Check boxes and lists are sent as well."""
    tab.page.goto(server.url)
    side = tab.side()
    open_parameters(side)
    for value in ("numbers", "capitalised"):
        field(side, "preserve").locator(f"input[value={value}]").check()
    for name in ("include_original", "strict"):
        tab.field(name).check()
    tab.field("cache").uncheck()
    with tab.page.expect_request("**/v1/reformulate") as sent:
        tab.ask(QUERY)
    assert sent.value.post_data_json == {
        "query": QUERY,
        "stream": True,
        "include_original": True,
        "preserve": ["numbers", "capitalised"],
        "strict": True,
        "cache": False,
    }
    tab.outcome()
    expect(side.locator(".source").first).to_have_text("the query itself")


def test_a_field_that_the_service_refuses_is_marked(server: Server, tab: Tab) -> None:
    """With the service's own words, until it is changed; what is no number does not get there."""
    tab.page.goto(server.url)
    side = tab.side()
    open_parameters(side)
    fill(side, {"n": 3, "num_beams": 2})
    open_parameters(side)  # closed: it opens by itself
    tab.ask(QUERY)
    beams = field(side, "num_beams")
    expect(beams.locator("input")).to_be_focused()
    expect(beams.locator("input")).to_have_attribute("aria-invalid", "true")
    expect(beams.locator(".help")).to_have_text("num_beams must be at least n = 3")
    fill(side, {"num_beams": 4})
    expect(beams.locator("input")).not_to_have_attribute("aria-invalid", "true")
    tab.ask(QUERY)
    tab.outcome()
    asked = len([one for one in tab.requests if one.method == "POST"])
    fill(side, {"num_beams": 200})
    tab.ask(QUERY)
    expect(beams.locator("input")).to_be_focused()
    assert len([one for one in tab.requests if one.method == "POST"]) == asked


def test_two_settings_side_by_side(server: Server, tab: Tab) -> None:
    """Each has its own parameters and answer; the history brings both back."""
    page = tab.page
    page.goto(server.url)
    expect(tab.side("B")).to_be_hidden()
    page.get_by_label("Compare two settings").check()
    tab.field("n", "A").fill("3")
    tab.field("strategy", "B").select_option("sample")
    tab.ask(QUERY)
    tab.outcome("A")
    tab.outcome("B")
    bodies = [one.post_data_json for one in tab.requests if one.method == "POST"]
    asked = {"query": QUERY, "stream": True}
    assert bodies == [{**asked, "n": 3}, {**asked, "strategy": "sample"}]
    boxes = [tab.side(name).bounding_box() for name in ("A", "B")]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]
    page.reload()
    page.locator(".entry", has_text="sample").click()  # the address asks again, for A alone
    tab.outcome("B")
    expect(tab.field("n", "A")).to_have_value("3")
    expect(tab.field("strategy", "B")).to_have_value("sample")


def code(tab: Tab, kind: str) -> str:
    """What the button copies."""
    side = tab.side()
    side.get_by_role("radio", name=kind).check()
    tab.page.evaluate("navigator.clipboard.writeText('')")
    side.locator(".code").get_by_role("button").click()
    copied = ""
    while not copied:
        copied = str(tab.page.evaluate("navigator.clipboard.readText()"))
    expect(side.locator(".code").get_by_role("button")).to_have_text("Copy")  # once more
    assert copied == side.locator("pre code").text_content()
    return copied


def run(command: list[str]) -> str:
    environment = {**os.environ, "T5SERVE_API_KEY": "a key"}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(("query", "key"), [(QUERY, ""), (QUOTED, "a key")], ids=["open", "key"])
def test_code_runs_and_asks_the_same(
    server: Server, context: BrowserContext, tab: Tab, query: str, key: str
) -> None:
    """In a shell, in Python, and with OpenAI's client; with a key it is named, not shown."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    if key:
        tab.page.add_init_script(f"sessionStorage.setItem('t5serve.key', '{json.dumps(key)}')")
    tab.page.goto(server.url)
    side = tab.side()
    expect(tab.page.locator("#state")).to_have_text(re.compile("Ready"))
    tab.page.get_by_label("Search query").fill(query)
    tab.field("strategy").select_option("beam")
    tab.field("n").fill("2")
    open_parameters(side)
    tab.field("include_original").check()
    tab.field("max_tokens").fill("8")
    side.get_by_text("Copy as code").click()
    (answer,) = json.loads(run(["/bin/sh", "-c", code(tab, "curl")]))["results"]
    assert answer["queries"][0] == query
    assert run([sys.executable, "-c", code(tab, "Python")]).startswith(f"None {query}\n")
    openai = code(tab, "OpenAI")
    assert "Only /v1/reformulate has: strategy, include_original" in openai
    assert run([sys.executable, "-c", openai]).strip()
    for kind in ("curl", "Python", "OpenAI"):
        assert ("T5SERVE_API_KEY" in code(tab, kind)) == bool(key)
        assert not key or key not in code(tab, kind)


def test_copying_without_the_clipboard_of_secure_pages(server: Server, tab: Tab) -> None:
    """On plain HTTP from elsewhere there is none."""
    tab.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    tab.page.add_init_script(PATIENT)
    tab.page.goto(server.url)
    tab.ask(QUERY)
    tab.outcome()
    (text,) = tab.texts()
    tab.side().get_by_role("button", name="Copy reformulation 1").click()
    expect(tab.side().get_by_text("Copied")).to_be_visible()
    tab.page.get_by_label("Search query").fill("")
    tab.page.keyboard.press("Control+v")
    expect(tab.page.get_by_label("Search query")).to_have_value(text)
