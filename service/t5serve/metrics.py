"""Metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from t5engine.messages import Generated, Judged, Timings
from t5serve import __version__
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


class ModelGauges(NamedTuple):
    """The current figures of one model.

    Attributes:
        name: the name of the model.
        description: describes the loaded file; None: it is not loaded.
        waiting: inputs that wait for a worker.
        running: inputs that are being decoded.
        max_queue: inputs that may wait; 0: the model is not loaded.
        worker_bytes: memory of the worker processes.
        is_ready: whether a worker is ready, or the model is loaded on its next use.
        has_failed: whether the model could not be loaded.
        restarts: restarts of workers.
    """

    name: str
    description: str | None
    waiting: int
    running: int
    max_queue: int
    worker_bytes: int
    is_ready: bool
    has_failed: bool
    restarts: int


class _ModelCollector(Collector):
    """Reads the figures of all models at each scrape: a reload can replace the models."""

    def __init__(self, read: Callable[[], Iterable[ModelGauges]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        models = list(self._read())
        for name, help_text, value in GAUGES:
            family = GaugeMetricFamily(name, help_text, labels=["model"])
            for model in models:
                family.add_metric([model.name], value(model))
            yield family
        info = GaugeMetricFamily(
            "t5serve_model_info",
            "The loaded models; the value is always 1.",
            labels=["model", "description", "version"],
        )
        for model in models:
            if model.description is not None:
                info.add_metric([model.name, model.description, __version__], 1)
        yield info


GAUGES: tuple[tuple[str, str, Callable[[ModelGauges], float]], ...] = (
    ("t5serve_queue_depth", "Inputs that wait for a worker.", lambda model: model.waiting),
    (
        "t5serve_queue_limit",
        "Inputs that may wait for a worker; 0 while the model is not loaded.",
        lambda model: model.max_queue,
    ),
    ("t5serve_running", "Inputs that are being decoded.", lambda model: model.running),
    (
        "t5serve_ready",
        "1 while the model answers, or is loaded on its use.",
        lambda model: model.is_ready,
    ),
    ("t5serve_model_failed", "1 if the model could not be loaded.", lambda model: model.has_failed),
    (
        "t5serve_worker_resident_memory_bytes",
        "Memory of the worker processes; the mapped model file counts in each.",
        lambda model: model.worker_bytes,
    ),
    ("t5serve_worker_restarts", "Restarts of workers.", lambda model: model.restarts),
)


class Metrics:
    """The metrics of one service, in a separate registry."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
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
            ("model", "phase"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.tokens = Counter(
            "t5serve_tokens",
            "Tokens encoded (prompt) and decoded (completion).",
            ("model", "kind"),
            registry=self._registry,
        )
        self.batch = Histogram(
            "t5serve_batch_sequences",
            "Most sequences that were decoded in one step, over the steps of an input.",
            ("model",),
            buckets=SEQUENCES,
            registry=self._registry,
        )
        self.drafts = Counter(
            "t5serve_draft_tokens",
            "Draft tokens from the input: kept if the model chose the same token, else dropped.",
            ("model", "outcome"),
            registry=self._registry,
        )
        self.documents = Counter(
            "t5serve_judged_documents",
            "Documents that were judged to rerank them; those from the cache do not count.",
            ("model",),
            registry=self._registry,
        )
        self.fallbacks = Counter(
            "t5serve_fallbacks",
            "Queries whose result is the original query, by reason.",
            ("model", "reason"),
            registry=self._registry,
        )
        self.cache_lookups = Counter(
            "t5serve_cache_lookups",
            "Deterministic inputs: hit (cached), shared (decoded for another request), miss.",
            ("model", "outcome"),
            registry=self._registry,
        )
        self.reloads = Counter(
            "t5serve_reloads",
            "Reloads, by whether all of them succeeded.",
            ("outcome",),
            registry=self._registry,
        )
        for outcome in ("succeeded", "failed"):  # from the start, so that an increase is seen
            self.reloads.labels(outcome)

    def watch_models(self, read: Callable[[], Iterable[ModelGauges]]) -> None:
        """Adds gauges of the models; each scrape reads their current values."""
        self._registry.register(_ModelCollector(read))

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

    def record_generation(self, model: str, generated: Generated, queue_ms: float) -> None:
        """Counts a decoded input of a model: phases, tokens, batch and drafts."""
        self._record_phases(model, generated.timings, queue_ms)
        self.tokens.labels(model, "prompt").inc(generated.prompt_tokens)
        self.tokens.labels(model, "completion").inc(generated.completion_tokens)
        self.batch.labels(model).observe(generated.batch)
        self.drafts.labels(model, "kept").inc(generated.drafts_kept)
        self.drafts.labels(model, "dropped").inc(generated.drafted - generated.drafts_kept)

    def record_judged(self, model: str, judged: Judged, queue_ms: float) -> None:
        """Counts a judged document: phases, tokens and batch."""
        self._record_phases(model, judged.timings, queue_ms)
        self.tokens.labels(model, "prompt").inc(judged.prompt_tokens)
        self.batch.labels(model).observe(judged.batch)
        self.documents.labels(model).inc()

    def _record_phases(self, model: str, timings: Timings, queue_ms: float) -> None:
        for phase, milliseconds in (
            ("queue", queue_ms),
            ("tokenize", timings.tokenize),
            ("encode", timings.encode),
            ("decode", timings.decode),
        ):
            self.phase_seconds.labels(model, phase).observe(milliseconds / 1000)

    def record_reload(self, *, has_succeeded: bool) -> None:
        """Counts a reload."""
        self.reloads.labels("succeeded" if has_succeeded else "failed").inc()

    def render(self) -> bytes:
        """Renders all metrics in the exposition format of Prometheus."""
        return generate_latest(self._registry)
