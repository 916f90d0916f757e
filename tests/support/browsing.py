"""A browser's tab on the real service, as a visitor would use it."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from playwright.sync_api import Locator, Page, Request, Route, expect

PATIENCE_MS = 60_000  # of a busy machine
UNHURRIED_MS = "60000"  # deadline of a service that does not fall back on such a machine
expect.set_options(timeout=PATIENCE_MS)


class Tab(NamedTuple):
    """A page of the service, and what it must not do."""

    page: Page
    requests: list[Request]
    faults: list[str]
    """Of scripts, of the content policy, of the network."""

    def ask(self, query: str) -> None:
        """Types a query and sends it."""
        self.page.get_by_label("Search query").fill(query)
        self.page.get_by_role("button", name="Reformulate").click()

    def side(self, name: str = "A") -> Locator:
        """One setting with its answer."""
        return self.page.get_by_label(f"Setting {name}", exact=True)

    def field(self, name: str, side: str = "A") -> Locator:
        """The control of a parameter, by its name in the API."""
        row = self.side(side).locator(f".field[data-name={name}]")
        return row.locator("input, select, textarea").first

    def open_parameters(self, side: str = "A") -> None:
        """Opens or closes the panel with all parameters."""
        self.side(side).locator("summary", has_text="All parameters").click()

    def outcome(self, side: str = "A") -> str:
        """Waits for the answer; the line that tells of it."""
        line = self.side(side).locator(".outcome")
        expect(self.side(side).locator(".results")).not_to_have_attribute("aria-busy", "true")
        expect(line).to_contain_text(re.compile(r" in <?[\d.,]+ ms"))
        return line.inner_text()

    def texts(self, side: str = "A") -> list[str]:
        """The reformulations that are shown."""
        return self.side(side).locator(".text").all_inner_texts()


def watch(page: Page) -> Tab:
    """Notes what a page does."""
    requests: list[Request] = []
    faults: list[str] = []
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108 - it is given an attribute
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    page.on(
        "console",
        lambda message: faults.append(message.text) if is_fault(message.text) else None,
    )
    return Tab(page, requests, faults)


def is_fault(text: str) -> bool:
    """The browser itself reports answers that are errors; those the page is to expect."""
    return not text.startswith("Failed to load resource")


def assert_blameless(tab: Tab) -> None:
    """No fault, and no request that leaves the origin."""
    assert tab.faults == []
    origin = tab.page.url.split("/", 3)[:3]
    assert [one.url for one in tab.requests if one.url.split("/", 3)[:3] != origin] == []


REST = {
    "timings_ms": dict.fromkeys(("queue", "tokenize", "encode", "decode", "total"), 1.0),
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def result_of(original: str, *texts: str, score: float = -0.5, **fields: Any) -> dict[str, Any]:
    """A result with these reformulations; without any, the query itself."""
    answers = [
        {"text": text, "score": score, "rank": rank, "tokens": 3, "source": "model"}
        for rank, text in enumerate(texts, 1)
    ]
    same = {"text": original, "score": None, "rank": 1, "tokens": 0, "source": "original"}
    return {
        "original": original,
        "queries": list(texts) or [original],
        "reformulations": answers or [same],
        "changed": bool(texts),
        "unchanged_reason": None,
        "fallback": False,
        "fallback_reason": None,
        "cached": False,
        **fields,
    }


def body_of(request: Request) -> dict[str, Any]:
    """The JSON that a request sends; without any, nothing."""
    body: dict[str, Any] = json.loads(request.post_data or "{}")
    return body


def answer_whole(route: Route, *texts: str, **fields: Any) -> None:
    """Answers a request that does not stream with these reformulations of its query."""
    original = body_of(route.request)["query"]
    route.fulfill(json={"results": [result_of(original, *texts, **fields)], **REST})


def answer_with(route: Route, *, text: str, **fields: Any) -> None:
    """A stream with one reformulation."""
    stream(route, result_of("a", text, **fields))


def stream(route: Route, result: dict[str, Any]) -> None:
    """Streams a result."""
    events = (("result", result), ("done", REST))
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    route.fulfill(content_type="text/event-stream", body=body)
