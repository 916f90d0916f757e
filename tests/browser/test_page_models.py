"""The choice of a model, where the service has several."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from support.browsing import UNHURRIED_MS, Tab
from support.serving import Server, start, stop
from support.several import build_models, write_models_file

QUERY = "weather in oslo"
pytestmark = pytest.mark.usefixtures("several")  # files can't be converted beside Playwright's loop


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with a model that is loaded, one that is loaded on its use, and one that failed."""
    folder = tmp_path_factory.mktemp("models")
    files = build_models(folder)
    file = write_models_file(
        folder / "models.toml",
        {"name": "rewriter", "model": files["included"]},
        {"name": "decomposer", "model": files["lists"], "load": "first_use"},
        {"name": "broken", "model": folder / "missing.gguf"},
    )
    running = start(models_file=str(file), threads="1", timeout_ms=UNHURRIED_MS)
    running.wait_until_ready()
    yield running
    stop(running)


def choice(tab: Tab, side: str = "A") -> Locator:
    return tab.side(side).get_by_label("Model", exact=True)


def tasks(tab: Tab, side: str = "A") -> list[str]:
    return tab.side(side).locator(".task .choice").all_inner_texts()


def test_one_model_needs_no_choice(server: Server, tab: Tab) -> None:
    """With one model there is its name, and nothing to choose."""
    tab.page.goto(server.url)
    expect(tab.page.locator("#state")).to_have_text("Ready: tiny-t5")
    expect(choice(tab)).to_be_hidden()


def test_tasks_and_defaults_follow_the_model(several: Server, tab: Tab) -> None:
    """The first model is chosen; another one has its own tasks, and its name is in the request."""
    tab.page.goto(several.url)
    expect(tab.page.locator("#state")).to_have_text("Ready: 2 of 3 models")
    expect(choice(tab)).to_have_value("rewriter")
    assert tasks(tab) == ["search", "fix", "paraphrase", "question"]
    tab.ask(QUERY)
    tab.outcome()
    choice(tab).select_option("decomposer")
    assert tasks(tab) == ["search"]
    tab.ask(QUERY)
    tab.outcome()
    bodies = [request.post_data for request in tab.requests if "reformulate" in request.url]
    assert [json.loads(body or "").get("model") for body in bodies] == [None, "decomposer"]
    expect(choice(tab)).to_have_value("decomposer")
    expect(choice(tab).locator("option")).to_have_text(
        ["rewriter", "decomposer", "broken (failed)"]
    )
    expect(choice(tab).locator("option[value=broken]")).to_be_disabled()


def test_two_models_side_by_side(several: Server, tab: Tab) -> None:
    """Two settings can be two models; the code and the history have the model's name."""
    tab.page.goto(several.url)
    tab.page.get_by_label("Compare two settings").check()
    choice(tab, "B").select_option("decomposer")
    tab.ask(QUERY)
    tab.outcome("A")
    tab.outcome("B")
    tab.side("B").locator("summary", has_text="Copy as code").click()
    expect(tab.side("B").locator("pre code")).to_contain_text('"model":"decomposer"')
    choice(tab, "B").select_option("rewriter")
    expect(tab.side("B").locator("pre code")).not_to_contain_text("decomposer")
    tab.page.locator("#history .entries button").first.click()
    expect(choice(tab, "B")).to_have_value("decomposer")
