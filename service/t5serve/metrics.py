"""Metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from t5engine.messages import Generated, ModelInfo
from t5engine.pool.engine import Engine
from t5serve.log_writer import LogWriter

SECONDS = tuple(
    ms / 1000 for ms in (1, 2, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000)
)
SEQUENCES = (1, 2, 4, 8, 12, 16, 24, 32, 64)


class Cache(Protocol):
    """What is measured of the cache of results."""

    evictions: int

    def __len__(self) -> int: ...

    @property
    def bytes_used(self) -> int: ...


class _CacheCollector(Collector):
    """Reads the figures of a cache at each scrape."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        cache = self._cache
        yield GaugeMetricFamily(
            "t5serve_cache_bytes", "Memory of the cached results, in bytes.", cache.bytes_used
        )
        yield GaugeMetricFamily(
            "t5serve_cache_entries", "Cached results and selections.", len(cache)
        )
        yield CounterMetricFamily(
            "t5serve_cache_evictions", "Entries dropped for lack of memory.", cache.evictions
        )


class Metrics:
    """The metrics of one service, in a separate registry."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "t5serve_requests",
            "Requests, by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "t5serve_request_seconds",
            "Time from the request to the last byte of its response.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.phase_seconds = Histogram(
            "t5serve_phase_seconds",
            "Time of each phase of an input: queue, tokenize, encode, decode.",
            ("phase",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.tokens = Counter(
            "t5serve_tokens",
            "Tokens encoded (prompt) and decoded (completion).",
            ("kind",),
            registry=self._registry,
        )
        self.batch = Histogram(
            "t5serve_batch_sequences",
            "Most sequences that were decoded in one step, over the steps of an input.",
            buckets=SEQUENCES,
            registry=self._registry,
        )
        self.drafts = Counter(
            "t5serve_draft_tokens",
            "Draft tokens from the input: kept if the model chose the same token, else dropped.",
            ("outcome",),
            registry=self._registry,
        )
        self.fallbacks = Counter(
            "t5serve_fallbacks",
            "Queries whose result is the original query, by reason.",
            ("reason",),
            registry=self._registry,
        )
        self.cache_lookups = Counter(
            "t5serve_cache_lookups",
            "Deterministic inputs: hit (cached), shared (decoded for another request), miss.",
            ("outcome",),
            registry=self._registry,
        )
        self._model = Gauge(
            "t5serve_model_info",
            "The served model; the value is always 1.",
            ("model", "description", "version"),
            registry=self._registry,
        )

    def watch_engine(self, engine: Engine) -> None:
        """Adds gauges of an engine; each scrape reads their current values."""
        values: dict[tuple[str, str], Callable[[], float]] = {
            ("t5serve_queue_depth", "Inputs that wait for a worker."): lambda: engine.waiting,
            ("t5serve_running", "Inputs that are being decoded."): lambda: engine.running,
            ("t5serve_ready", "1 while a worker is ready, else 0."): lambda: (
                engine.state == "ready"
            ),
            ("t5serve_worker_restarts", "Restarts of workers."): lambda: engine.restarts,
        }
        for (name, documentation), value in values.items():
            Gauge(name, documentation, registry=self._registry).set_function(value)

    def watch_log(self, log: LogWriter) -> None:
        """Adds a gauge of the log lines that were dropped because nobody read them."""
        Gauge(
            "t5serve_log_lines_dropped",
            "Log lines that were dropped because standard error was not read.",
            registry=self._registry,
        ).set_function(lambda: log.dropped)

    def watch_cache(self, cache: Cache) -> None:
        """Adds the size of the cache of results, and how many results were dropped."""
        self._registry.register(_CacheCollector(cache))

    def record_generation(self, generated: Generated, queue_ms: float) -> None:
        """Counts a decoded input: phases, tokens, batch and drafts."""
        timings = generated.timings
        for phase, milliseconds in (
            ("queue", queue_ms),
            ("tokenize", timings.tokenize),
            ("encode", timings.encode),
            ("decode", timings.decode),
        ):
            self.phase_seconds.labels(phase).observe(milliseconds / 1000)
        self.tokens.labels("prompt").inc(generated.prompt_tokens)
        self.tokens.labels("completion").inc(generated.completion_tokens)
        self.batch.observe(generated.batch)
        self.drafts.labels("kept").inc(generated.drafts_kept)
        self.drafts.labels("dropped").inc(generated.drafted - generated.drafts_kept)

    def record_model(self, model: ModelInfo, version: str) -> None:
        """Records the name and description of the loaded model."""
        self._model.labels(model.name, model.description, version).set(1)

    def render(self) -> bytes:
        """Renders all metrics in the exposition format of Prometheus."""
        return generate_latest(self._registry)
