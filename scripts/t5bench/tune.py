"""Finds the fastest settings of a peer."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from random import Random
from typing import Any

from t5bench.candidate import Candidate, SearchSpace
from t5bench.errors import BenchError
from t5bench.queries import Query
from t5bench.rounds import interleave
from t5bench.runner import Session


def select_fastest(
    space: SearchSpace, queries: Sequence[Query], tokens: int, rounds: int, random: Random
) -> tuple[dict[str, Any], Candidate]:
    """Returns the medians of all settings, and the fastest candidate under the space's name.

    Settings that fail, for example for want of an instruction set, are listed and left out.

    Raises:
        BenchError: All settings fail.
    """
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        for candidate in space.candidates:
            try:
                sessions[candidate.name] = candidate.runner.start()
            except BenchError as error:
                failed[candidate.name] = str(error)
            else:
                stack.callback(sessions[candidate.name].close)
        if not sessions:
            raise BenchError(f"{space.name}: {'; '.join(failed.values())}")
        answers = interleave(sessions, queries, {tokens: rounds}, random)
    medians = {
        name: statistics.median(answer.total_ms for answer in setting_answers)
        for (name, _), setting_answers in answers.items()
    }
    fastest = min(medians, key=lambda name: medians[name])
    (best,) = (candidate for candidate in space.candidates if candidate.name == fastest)
    results = {
        "name": space.name,
        "tokens_in": len(queries[0].ids),
        "tokens_out": tokens,
        "rounds": rounds,
        "best": fastest,
        "median_ms": dict(sorted(medians.items(), key=lambda item: item[1])),
        "failed": failed,
    }
    return results, replace(best, runner=best.runner.renamed(space.name))
