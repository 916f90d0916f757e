"""A browser on the real service; without one these tests are skipped, and say so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from support.browsing import PATIENCE_MS, UNHURRIED_MS, Tab, assert_blameless, watch
from support.serving import Server, start, stop
from support.several import write_models_file

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service for all tests that leave it as it was; an answer is one text."""
    file = write_models_file(
        tmp_path_factory.mktemp("browser") / "models.toml",
        {"name": "tiny-t5", "model": "tiny-t5", "defaults": {"task": "paraphrase"}},
    )
    running = start(models_file=str(file), timeout_ms=UNHURRIED_MS)
    running.wait_until_ready()
    yield running
    stop(running)


@pytest.fixture(scope="module")  # not for longer: Playwright's event loop would be in others' way
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("the page is not tested: there is no chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A visitor of whom nothing is known."""
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


@pytest.fixture
def tab(context: BrowserContext) -> Iterator[Tab]:
    """A tab that stays within the origin it goes to, and whose scripts never fail."""
    tab = watch(context.new_page())
    yield tab
    assert_blameless(tab)
