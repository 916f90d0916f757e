"""The settings of one peer, measured against one another: the fastest takes part."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from random import Random
from typing import Any

from t5bench.contestant import Running
from t5bench.errors import BenchError
from t5bench.lineup import Entry, Tournament
from t5bench.queries import Query
from t5bench.rounds import interleave


def winner(
    tournament: Tournament, queries: Sequence[Query], tokens: int, rounds: int, random: Random
) -> tuple[dict[str, Any], Entry]:
    """The medians of all settings, and the fastest entry under the tournament's name.

    Settings that fail (instructions that this processor lacks) are listed, and left out.

    Raises:
        BenchError: all of them do.
    """
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        running: dict[str, Running] = {}
        for entry in tournament.entries:
            try:
                running[entry.name] = entry.contestant.start()
            except BenchError as error:
                failed[entry.name] = str(error)
            else:
                stack.callback(running[entry.name].close)
        if not running:
            raise BenchError(f"{tournament.name}: {'; '.join(failed.values())}")
        answers = interleave(running, queries, {tokens: rounds}, random)
    medians = {
        name: statistics.median(answer.total_ms for answer in found)
        for (name, _), found in answers.items()
    }
    fastest = min(medians, key=lambda name: medians[name])
    (best,) = (entry for entry in tournament.entries if entry.name == fastest)
    results = {
        "name": tournament.name,
        "tokens_in": len(queries[0].ids),
        "tokens_out": tokens,
        "rounds": rounds,
        "best": fastest,
        "median_ms": dict(sorted(medians.items(), key=lambda item: item[1])),
        "failed": failed,
    }
    return results, replace(best, contestant=best.contestant.renamed(tournament.name))
