"""Reloads under load: no request may be lost, and each answer is wholly of one model.

`python tests/load/reloads.py --reloads 20 --clients 16` lets two models take turns behind one path.
The clients run on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support import listed
from support.conversions import convert_lists
from support.serving import start, stop
from support.several import rename
from t5gguf import recipe

Json = dict[str, Any]
QUERIES = list(listed.PAIRS)
KEY = "an operator's key"
TIMEOUT_MS = "60000"
Answered = tuple[str, str, str]
"""The name of the model, the route, the query."""
ROUTES = ("reformulate", "stream", "completions")


@dataclass
class Outcome:
    """What happened in a run.

    Attributes:
        right: answers by the name of their model, each equal to that model's without reloads.
        wrong: answers that are not those of the model that they name.
        lost: requests without an answer of the model.
        reload_seconds: the time of each reload.
        switches: how often consecutive answers to one client were of different models.
    """

    right: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    reload_seconds: list[float] = field(default_factory=list)
    switches: int = 0

    def __str__(self) -> str:
        median = statistics.median(self.reload_seconds)
        return (
            f"{len(self.reload_seconds)} reloads, {median:.1f} s each (median); right: "
            f"{dict(self.right)}, {len(self.wrong)} wrong, {len(self.lost)} lost; "
            f"{self.switches} switches seen by clients"
        )


def run(*, reloads: int, clients: int, pause: float = 1.0) -> Outcome:
    """Lets two models take turns while clients ask."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = [recipe.load("tiny-t5").model_path(), convert_lists(folder / "lists")]
        path = folder / "model.gguf"
        rename(sources[0], path, "first")
        (folder / "keys").write_text(KEY, encoding="utf-8")
        server = start(
            model=str(path),
            admin_keys_file=str(folder / "keys"),
            threads="1",
            timeout_ms=TIMEOUT_MS,
            max_queue="1000",
        )
        try:
            server.wait_until_ready()
            return asyncio.run(_run(server.url, path, sources, reloads, clients, pause))
        finally:
            stop(server)


async def _run(
    url: str, path: Path, sources: list[Path], reloads: int, clients: int, pause: float
) -> Outcome:
    outcome = Outcome()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        expected: dict[Answered, Json] = {}
        for turn in (0, 1):
            await _replace(client, path, sources, turn)
            for route, query in itertools.product(ROUTES, QUERIES):
                model, answer = await _ask(client, route, query)
                expected[model, route, query] = answer
        is_over = asyncio.Event()
        asking = [_keep_asking(client, n, expected, outcome, is_over) for n in range(clients)]

        async def reload() -> None:
            try:
                for turn in range(reloads):
                    await asyncio.sleep(pause)
                    seconds = await _replace(client, path, sources, turn)
                    outcome.reload_seconds.append(seconds)
            finally:
                is_over.set()

        await asyncio.gather(reload(), *asking)
    return outcome


async def _replace(client: httpx.AsyncClient, path: Path, sources: list[Path], turn: int) -> float:
    """Puts one of the models at the path and reloads it; returns the seconds of the reload."""
    name = ("first", "second")[turn % 2]
    await asyncio.to_thread(rename, sources[turn % 2], path, name)
    started = time.monotonic()
    headers = {"authorization": f"Bearer {KEY}"}
    response = await client.post("/admin/reload", headers=headers)
    if response.status_code != 200:
        raise RuntimeError(response.text)
    return time.monotonic() - started


async def _keep_asking(
    client: httpx.AsyncClient,
    number: int,
    expected: dict[Answered, Json],
    outcome: Outcome,
    is_over: asyncio.Event,
) -> None:
    before = ""
    asked = itertools.cycle(itertools.product(QUERIES, ROUTES))
    for query, route in itertools.islice(asked, number, None):
        if is_over.is_set():
            return
        try:
            model, answer = await _ask(client, route, query)
        except (httpx.HTTPError, KeyError, ValueError) as error:
            outcome.lost.append(f"{route} {query}: {error!r}")
            continue
        if answer == expected.get((model, route, query)):
            outcome.right[model] += 1
        else:
            outcome.wrong.append(f"{model} {route} {query}: {answer}")
        outcome.switches += before not in ("", model)
        before = model


async def _ask(client: httpx.AsyncClient, route: str, query: str) -> tuple[str, Json]:
    """Returns the name of the model that answered, and what it answered.

    Raises:
        ValueError: there is no answer of a model.
    """
    if route == "completions":
        models = (await client.get("/v1/models")).json()
        name = models["data"][0]["id"]
        body = {"model": name, "prompt": query, "temperature": 0, "max_tokens": 12}
        response = await client.post("/v1/completions", json=body)
        if response.status_code == 404:  # the model was replaced between the two requests
            return await _ask(client, route, query)
        answer = response.json()
        kept = {key: answer[key] for key in ("system_fingerprint", "choices")}
        return answer["model"], kept
    body = {"query": query, "n": 2, "preserve": [], "strict": True}
    response = await client.post("/v1/reformulate", json={**body, "stream": route == "stream"})
    if response.status_code != 200:
        raise ValueError(f"{response.status_code} {response.text}")
    if route == "reformulate":
        answer = response.json()
        return answer["model"], {"queries": [one["queries"] for one in answer["results"]]}
    events = [
        line.removeprefix("data: ") for line in response.text.splitlines() if "data: " in line
    ]
    parsed = [json.loads(event) for event in events]
    return parsed[-1]["model"], {"queries": [parsed[-2]["queries"]]}


def main() -> None:
    """Prints what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds before each reload")
    options = parser.parse_args()
    outcome = run(reloads=options.reloads, clients=options.clients, pause=options.pause)
    tqdm.write("\n".join([*outcome.wrong, *outcome.lost, str(outcome)]))


if __name__ == "__main__":
    main()
