"""Takes the screenshots of docs/page.md from a running service, with Debian's Chromium."""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path
from typing import Literal

from extras import Extra

EXTRA = Extra("test")
with EXTRA:
    from PIL import Image
    from playwright.sync_api import Browser, Error, Page, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
QUERY = "which are the best python books for beginners"
SAMPLE_QUERY = 1  # of the first sample
LINES = (
    "how do i clean a laptop screen",
    "https://example.com/shoes?size=42",
    "whats the best way too remove a wine stain",
    "cheap flights london new york 2026",
)
SIZES = {"desktop": (1280, 900, 1), "phone": (390, 844, 2)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
COLOURS = 256


def main() -> int:
    """Writes the screenshots, each in a few tens of kilobytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service")
    url = parser.parse_args().url
    EXTRA.require()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("needs chromium: apt-get install chromium", file=sys.stderr)  # noqa: T201 - a command
        return 1
    try:
        take_screenshots(url, chromium)
    except Error as error:  # no service is at the URL, or its page is another one
        print(f"screenshots.py: {error.message.splitlines()[0]}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def take_screenshots(url: str, chromium: str) -> None:
    """Takes every screenshot of the service at a URL."""
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in SCHEMES:
            for size in SIZES:
                page = open_page(browser, url, scheme, size)
                reformulate_query(page)
                save_screenshot(page, f"page-{scheme}-{size}")
        compare_settings(page := open_page(browser, url, "light", "desktop"))
        save_screenshot(page, "page-compare")
        search_sample(page, url)
        save_screenshot(page, "page-find")
        reformulate_lines(page, url)
        save_screenshot(page, "page-many")
        page.goto(f"{url}/docs#post-v1-reformulate")
        page.locator("#post-v1-reformulate .try > summary").click()
        save_screenshot(page, "reference")


def open_page(browser: Browser, url: str, scheme: Literal["light", "dark"], size: str) -> Page:
    """Opens the page in a new browser context, and runs three examples."""
    width, height, scale = SIZES[size]
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": height},
        device_scale_factor=scale,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    page.locator("#A-n").wait_for()
    for example in range(1, 4):  # fills the history and the figures
        page.locator(".example").nth(example).click()
        page.locator(".results:not([aria-busy]) .latency:visible").wait_for()
    page.locator(".spark polyline[points]").wait_for(state="attached")
    return page


def reformulate_query(page: Page) -> None:
    """Requests three reformulations."""
    page.locator("#A-n").fill("3")
    page.locator("#query").fill(QUERY)
    page.locator("#submit").click()
    page.locator(".results:not([aria-busy]) .latency:visible").wait_for()
    page.locator(".spark polyline[points]").wait_for(state="attached")
    page.evaluate("document.querySelector('#examples').scrollLeft = 0")
    page.locator("h1").click()  # moves the pointer away from other elements


def compare_settings(page: Page) -> None:
    """Compares diverse beams with samples."""
    page.locator("#compare").check()
    page.locator("#A-n").fill("3")
    page.locator("#B-n").fill("3")
    page.locator("#B-strategy").select_option("sample")
    summary = page.locator("[aria-label='Setting B'] .settings > details > summary")
    summary.click()
    page.locator("#B-temperature").fill("0.8")
    page.locator("#B-seed").fill("1")
    summary.click()
    page.locator("#query").fill(QUERY)
    page.locator("#submit").click()
    page.locator("[aria-label='Setting B'] .latency:visible").wait_for()
    page.locator("h1").click()


def search_sample(page: Page, url: str) -> None:
    """Searches a sample for a query of its own, corrected."""
    page.goto(f"{url}/?view=find&task=fix")
    page.locator("#find-task .choice").first.wait_for()
    page.locator("#find-examples .example").nth(SAMPLE_QUERY).click()
    page.locator("#ranks").wait_for()
    page.locator("h1").click()


def reformulate_lines(page: Page, url: str) -> None:
    """Reformulates some lines."""
    page.goto(f"{url}/?view=many")
    page.locator("#many-task .choice").first.wait_for()
    page.locator("#many-lines").fill("\n".join(LINES))
    page.locator("#many-ask").click()
    page.locator("#many-exports").wait_for()
    page.locator("h1").click()


def save_screenshot(page: Page, name: str) -> None:
    """Saves the visible part of the page, in few colours."""
    with Image.open(io.BytesIO(page.screenshot())) as screenshot:
        reduced = screenshot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    reduced.save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
