"""Metrics in the exposition format of Prometheus."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from support.fakes import FakePool, answer, settle, with_engine
from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Generate
from t5engine.pool.engine import Engine
from t5serve import __version__
from t5serve.http.middleware import RequestContext
from t5serve.metrics import SECONDS, Metrics, ModelGauges
from t5serve.models.cache import ResultCache
from t5serve.models.declaration import Declaration
from t5serve.models.served_model import ServedModel
from t5serve.models.slot import ModelSlot
from t5serve.settings import Settings

GREEDY = GenerationConfig(max_tokens=4)
GREEDY_JOB = Generate(1, GREEDY, text="a")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Returns the value of the sample with these labels; None without such a sample."""
    samples = [
        sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(samples) <= 1
    return samples[0] if samples else None


def test_a_generation() -> None:
    """A generation records its phases in seconds, its tokens, its batch and its drafts."""
    metrics = Metrics()
    metrics.record_generation("fake", answer(GREEDY_JOB, "x", "y"), 250.0)
    for phase, seconds in (("queue", 0.25), ("tokenize", 1e-4), ("encode", 1e-3), ("decode", 2e-3)):
        assert value(metrics, "t5serve_phase_seconds_count", model="fake", phase=phase) == 1
        assert value(
            metrics, "t5serve_phase_seconds_sum", model="fake", phase=phase
        ) == pytest.approx(seconds)
    assert (
        value(metrics, "t5serve_phase_seconds_bucket", model="fake", phase="queue", le="0.2") == 0
    )
    assert (
        value(metrics, "t5serve_phase_seconds_bucket", model="fake", phase="queue", le="0.3") == 1
    )
    assert value(metrics, "t5serve_tokens_total", model="fake", kind="prompt") == 5
    assert value(metrics, "t5serve_tokens_total", model="fake", kind="completion") == 4
    assert value(metrics, "t5serve_batch_sequences_sum", model="fake") == 1
    metrics.record_generation(
        "fake", replace(answer(GREEDY_JOB, "x"), drafted=6, drafts_kept=4), 0.0
    )
    assert value(metrics, "t5serve_draft_tokens_total", model="fake", outcome="kept") == 4
    assert value(metrics, "t5serve_draft_tokens_total", model="fake", outcome="dropped") == 2


def test_buckets() -> None:
    """The buckets range from 1 ms to 1,000 ms."""
    assert (SECONDS[0], SECONDS[-1]) == (0.001, 1.0)
    assert list(SECONDS) == sorted(set(SECONDS))


def test_model_and_fallbacks() -> None:
    """The name of the model and the number of fallbacks are exported."""
    metrics = Metrics()
    loaded = ModelGauges(
        "fake", "no model at all", 0, 0, 64, 1000, is_ready=True, has_failed=False, restarts=0
    )
    failed = ModelGauges("gone", None, 0, 0, 0, 0, is_ready=False, has_failed=True, restarts=0)
    metrics.watch_models(lambda: [loaded, failed])
    labels = {"model": "fake", "description": "no model at all", "version": __version__}
    assert value(metrics, "t5serve_model_info", **labels) == 1
    assert b"gone" in metrics.render()
    assert metrics.render().count(b"t5serve_model_info{") == 1
    assert value(metrics, "t5serve_model_failed", model="gone") == 1
    assert value(metrics, "t5serve_model_failed", model="fake") == 0
    metrics.fallbacks.labels("fake", "queue_full").inc()
    assert value(metrics, "t5serve_fallbacks_total", model="fake", reason="queue_full") == 1


def test_the_engine_s_gauges() -> None:
    """Gauges have current values: one input runs, one waits, a dead worker is replaced."""

    async def test(engine: Engine, pool: FakePool) -> None:
        metrics = Metrics()
        slot = ModelSlot(
            Declaration(name="fake", model="fake.gguf"),
            ServedModel(engine, Settings(), Path("fake.gguf")),
        )
        metrics.watch_models(lambda: [slot.gauges()])
        engine.on_generated = lambda result: metrics.record_generation(
            "fake", result.generated, result.queue_ms
        )
        calls = [engine.generate(GREEDY, text=text, timeout=9) for text in "ab"]
        tasks = [asyncio.create_task(call) for call in calls]
        await settle()
        assert value(metrics, "t5serve_running", model="fake") == 1
        assert value(metrics, "t5serve_queue_depth", model="fake") == 1
        assert value(metrics, "t5serve_queue_limit", model="fake") == 8
        memory = value(metrics, "t5serve_worker_resident_memory_bytes", model="fake")
        assert memory == pool.newest.resident_bytes()
        assert value(metrics, "t5serve_ready", model="fake") == 1
        assert value(metrics, "t5serve_worker_restarts", model="fake") == 0
        pool.newest.die()
        await settle()
        for _ in tasks:
            pool.newest.reply(answer(pool.newest.inbox[-1]))
            await settle()
        await asyncio.gather(*tasks)
        assert value(metrics, "t5serve_running", model="fake") == 0
        assert value(metrics, "t5serve_worker_restarts", model="fake") == 1
        assert value(metrics, "t5serve_phase_seconds_count", model="fake", phase="decode") == 2

    with_engine(test)


def test_registries_are_separate() -> None:
    """Two services in one process have separate values."""
    first, second = Metrics(), Metrics()
    first.fallbacks.labels("fake", "x").inc()
    assert value(second, "t5serve_fallbacks_total", model="fake", reason="x") is None


def test_requests_by_route_and_status() -> None:
    """Labels have the path of the route, so that clients can't create labels."""

    async def hello(_request: Request) -> Response:
        return PlainTextResponse("hello")

    metrics = Metrics()
    app = Starlette(routes=[Route("/v1/models/{id}", hello, methods=["GET"])])
    context = RequestContext(app, metrics, {hello: "/v1/models/{id}"})

    async def run() -> None:
        transport = httpx.ASGITransport(context)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            for path in ("/v1/models/a", "/v1/models/b", "/v1/nothing", "/v1/none"):
                await client.get(path)
            await client.post("/v1/models/a")

    asyncio.run(run())
    counted = "t5serve_requests_total"
    assert value(metrics, counted, route="/v1/models/{id}", status="200") == 2
    assert value(metrics, counted, route="/v1/models/{id}", status="405") == 1
    assert value(metrics, counted, route="other", status="404") == 2
    assert value(metrics, "t5serve_request_seconds_count", route="/v1/models/{id}") == 3


def test_the_cache() -> None:
    """Each scrape has the size of the cache and the number of dropped entries."""
    metrics, cache = Metrics(), ResultCache(3000)
    metrics.watch_cache(cache)
    for number in range(4):
        cache.put(bytes([number]), b"x" * 1000)
    assert value(metrics, "t5serve_cache_bytes") == cache.bytes_used
    assert value(metrics, "t5serve_cache_entries") == len(cache) == 2
    assert value(metrics, "t5serve_cache_evictions_total") == 2
