"""The answers that the figures are made of: which requests are sent, and a file that keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

from t5eval import service
from t5eval.collection import Collection
from t5eval.messages import Answer, Request
from t5eval.quality import keeping, labels, typos
from t5eval.quality.sources import CLEAN
from t5gguf.tasks import Task
from t5serve.reformulation.lexicon import EMPTY, Lexicon
from t5serve.reformulation.options import Options

SEVERAL = 3  # reformulations to combine with a query
FIXES = 4  # corrections of a clean query
STEP = 3  # of so many queries one is also asked with a term

SEVERAL_KEY, SINGLE_KEY, UNGUARDED_KEY = "several", "single", "several, no guards"
ANY_SCORE_KEY, LOWEST = "any score", -1e9  # answers that the recipe's least score drops, too

GROUP = 2000  # requests after which the answers are written

Key = tuple[str, ...]
"""The purpose, the collection or source, and the variant, such as ("retrieval", "cisi", ..)."""


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        tasks: The model's tasks by name, with the defaults of its recipe.
        collections: Test collections to search.
        queries: Queries by source.
        meanings: What a query asks for, of queries that correct themselves.
        domains: Queries by kind of search, whose answers were read.
        seed: The seed of typos, terms and tests of significance.
    """

    tasks: Mapping[str, Task]
    collections: Sequence[Collection]
    queries: Mapping[str, Sequence[str]]
    domains: Mapping[str, Sequence[str]]
    seed: int = 0
    meanings: Mapping[str, str] = field(default_factory=dict)

    @property
    def domain_queries(self) -> list[str]:
        """The queries whose answers were read."""
        return [query for queries in self.domains.values() for query in queries]

    @property
    def rewording(self) -> list[str]:
        """The tasks that reword queries."""
        return [name for name, task in self.tasks.items() if not task.corrects]

    @property
    def correcting(self) -> list[str]:
        """The tasks that correct queries."""
        return [name for name, task in self.tasks.items() if task.corrects]


@dataclass(frozen=True)
class Batch:
    """Requests of one purpose, and the lexicon that the service has for them."""

    key: Key
    requests: list[Request]
    lexicon: Lexicon = EMPTY


def plan_batches(plan: Plan) -> Iterator[Batch]:
    """Yields all batches; those of one lexicon are adjacent."""
    yield from _plan_retrieval(plan)
    for collection in plan.collections:
        yield from _plan_typos(plan, collection, "alone", EMPTY)
    yield from _plan_keeping(plan)
    yield from _plan_reading(plan)
    for collection in plan.collections:
        lexicon = Lexicon(typos.count_words(collection.documents))
        yield from _plan_typos(plan, collection, "lexicon", lexicon)


def _plan_retrieval(plan: Plan) -> Iterator[Batch]:
    for collection in plan.collections:
        queries = [query.text for query in collection.queries]
        for name in plan.rewording:
            variants = {
                SEVERAL_KEY: _options(plan, name, n=SEVERAL),
                SINGLE_KEY: _options(plan, name, n=1),
            }
            if name == plan.rewording[0]:
                variants[UNGUARDED_KEY] = _options(plan, name, n=SEVERAL, preserve=frozenset())
            for variant, options in variants.items():
                yield Batch(("retrieval", collection.name, name, variant), _ask(queries, options))


def _plan_keeping(plan: Plan) -> Iterator[Batch]:
    for source, queries in plan.queries.items():
        for name, task in plan.tasks.items():
            most = None if task.separator else 1  # all searches of one decode, or one text
            guarded = _options(plan, name, n=most)
            yield Batch(("keeping", source, name, "guards"), _ask(queries, guarded))
            unguarded = _options(plan, name, n=most, preserve=frozenset())
            yield Batch(("keeping", source, name, "no guards"), _ask(queries, unguarded))
            some = queries[::STEP]
            terms = [
                Request(query, _options(plan, name, n=1, terms=(term,)))
                for query, term in zip(some, keeping.draw_terms(some, plan.seed), strict=True)
            ]
            yield Batch(("keeping", source, name, "terms"), terms)
            if task.corrects and source in CLEAN:
                several = _options(plan, name, n=FIXES)
                yield Batch(("keeping", source, name, "several"), _ask(queries, several))


def _plan_reading(plan: Plan) -> Iterator[Batch]:
    for name in plan.tasks:
        options = _options(plan, name, n=labels.SEVERAL)
        yield Batch(("reading", name), _ask(plan.domain_queries, options))
        options = _options(plan, name, n=labels.SEVERAL, min_score=LOWEST)
        yield Batch(("reading", name, ANY_SCORE_KEY), _ask(plan.domain_queries, options))


def _plan_typos(
    plan: Plan, collection: Collection, variant: str, lexicon: Lexicon
) -> Iterator[Batch]:
    clean = [query.text for query in collection.queries]
    for name in plan.correcting:
        options = _options(plan, name, n=1)
        for state, queries in (
            ("clean", clean),
            ("typed", typos.add_typos(clean, plan.seed)),
        ):
            key = ("typos", collection.name, name, state, variant)
            yield Batch(key, _ask(queries, options), lexicon)


def _options(plan: Plan, task: str, **options: Any) -> Options:  # noqa: ANN401 - any field
    return Options.for_task(plan.tasks[task], task=task, **options)


def _ask(queries: Sequence[str], options: Options) -> list[Request]:
    return [Request(query, options) for query in queries]


Ask = Callable[[Sequence[Request], Lexicon], list[Answer]]


def ask_service(model: str) -> Ask:
    """Returns what asks the service for answers of a model."""

    def ask(requests: Sequence[Request], lexicon: Lexicon) -> list[Answer]:
        return service.answer_requests(model, requests, {}, lexicon)

    return ask


class Answers:
    """Answers by key; a file keeps them, so that a run that was stopped goes on.

    The file has to be removed when the model or the service changes.
    """

    def __init__(self, stored: Mapping[str, Any], path: Path | None = None) -> None:
        self._stored = dict(stored)
        self._path = path

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Reads the answers that a file keeps; none if there is no file."""
        if path is None or not path.is_file():
            return cls({}, path)
        return cls(json.loads(path.read_text("utf-8")), path)

    def __getitem__(self, key: Key) -> list[Answer]:
        return [Answer(**item) for item in self._stored["/".join(key)]["answers"]]

    def complete(self, batches: Sequence[Batch], ask: Ask) -> None:
        """Asks for the answers that are missing, in groups, since each group loads the model."""
        missing = [batch for batch in batches if not self._has(batch)]
        while missing:
            first = missing[0]
            group: list[Batch] = []
            for batch in takewhile(partial(_has_lexicon, first.lexicon), missing):
                if sum(len(earlier.requests) for earlier in group) < GROUP:
                    group.append(batch)
            requests = [request for batch in group for request in batch.requests]
            answers = map(asdict, ask(requests, first.lexicon))
            for batch in group:
                self._stored["/".join(batch.key)] = {
                    "requests": _digest(batch),
                    "answers": [next(answers) for _ in batch.requests],
                }
            missing = missing[len(group) :]
            self._write()

    def _has(self, batch: Batch) -> bool:
        """Whether there are answers to these very requests."""
        stored = self._stored.get("/".join(batch.key))
        return stored is not None and stored["requests"] == _digest(batch)

    def _write(self) -> None:
        if self._path is None:
            return
        partial_path = self._path.with_name(self._path.name + ".partial")
        partial_path.write_text(json.dumps(self._stored, ensure_ascii=False), encoding="utf-8")
        partial_path.replace(self._path)


def _digest(batch: Batch) -> str:
    """Returns a checksum of a batch's queries and options."""
    body = [asdict(request) for request in batch.requests]
    text = json.dumps(body, sort_keys=True, default=sorted)  # sets have no order
    return hashlib.sha256(text.encode()).hexdigest()


def _has_lexicon(lexicon: Lexicon, batch: Batch) -> bool:
    return batch.lexicon is lexicon
