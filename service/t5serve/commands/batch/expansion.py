"""Document expansion: more samples of a document than one request has."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from t5serve.commands.batch.answers import Reformulate
from t5serve.errors import UsageError
from t5serve.http.schemas.body import MAX_N
from t5serve.reformulation.text import fold_sentence
from t5serve.results import Reformulation, Result

MAX_SAMPLES = 64  # of a document
SEED_STEP = 1_000_003  # between the requests for one document
NOTHING_USABLE = "no_usable_output"


def split_samples(options: argparse.Namespace) -> list[int]:
    """Returns the answers of each request for a document; leaves the first in the options.

    Raises:
        UsageError: there are too many answers, or requests that would have the same.
    """
    count: int = options.n or 0
    if count <= MAX_N:
        return [count]  # checked with the other fields of the request
    if options.shape == "results":
        raise UsageError(f"-n over {MAX_N} is for documents: see --format")
    if count > MAX_SAMPLES:
        raise UsageError(f"-n must be at most {MAX_SAMPLES}")
    if options.url is not None and options.strategy != "sample":
        raise UsageError(f"-n over {MAX_N} with --url needs --strategy sample")
    requests = -(-count // MAX_N)
    counts = [(count + index) // requests for index in range(requests)]
    options.n = counts[0]
    return counts


def vary_requests(values: dict[str, Any], counts: Sequence[int]) -> list[dict[str, Any]]:
    """Returns the fields of each request for a document: each has samples of its own."""
    if len(counts) == 1:
        return [values]
    variants = [{**values, "n": count} for count in counts]
    if "seed" in values:
        for index, variant in enumerate(variants):
            variant["seed"] = (values["seed"] + index * SEED_STEP) % 2**63
    return variants


def join_requests(requests: Sequence[Reformulate]) -> Reformulate:
    """Returns what asks all requests for the same documents, and joins their answers."""
    if len(requests) == 1:
        return requests[0]

    async def ask(documents: list[str]) -> list[Result]:
        answers = [await request(documents) for request in requests]
        return [join_results(results) for results in zip(*answers, strict=True)]

    return ask


def join_results(results: Sequence[Result]) -> Result:
    """Returns the distinct reformulations of several results of one document, best first.

    A result that says nothing about the document is the joint result: it is asked again.
    """
    for result in results:
        if result.fallback and result.fallback_reason != NOTHING_USABLE:
            return result
    usable = [result for result in results if not result.fallback]
    if not usable:
        return results[0]
    reformulations = list(_select_distinct(usable))
    return msgspec.structs.replace(
        usable[0],
        queries=[one.text for one in reformulations],
        reformulations=reformulations,
    )


def _select_distinct(results: Sequence[Result]) -> Iterator[Reformulation]:
    seen: set[str] = set()
    found = [one for result in results for one in result.reformulations]
    for one in sorted(found, key=lambda one: -(one.score or 0.0)):
        folded = fold_sentence(one.text)
        if folded not in seen:
            seen.add(folded)
            yield msgspec.structs.replace(one, rank=len(seen))
