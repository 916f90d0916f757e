"""Measuring contestants side by side: in every round each runs once, in a shuffled order.

So whatever else the machine does meets all of them alike. Each runs alone: the next one starts
when the threads of the last one sleep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from random import Random

from t5bench import process
from t5bench.contestant import Answer, Running
from t5bench.queries import Query

Answers = dict[tuple[str, int], list[Answer]]
"""By contestant and tokens out, in the order of the rounds."""


def interleave(
    running: Mapping[str, Running],
    queries: Sequence[Query],
    rounds: Mapping[int, int],
    random: Random,
) -> Answers:
    """Asks every contestant for each number of tokens, after one request to warm up.

    Args:
        running: the contestants by name.
        queries: of one length; a round has one, the same for all.
        rounds: for each number of tokens out, how many.
        random: shuffles.
    """
    answers: Answers = defaultdict(list)
    for number in range(-1, max(rounds.values())):  # round -1 builds graphs and fills caches
        jobs = [(name, out) for name in running for out in rounds if number < rounds[out]]
        random.shuffle(jobs)
        for name, tokens in jobs:
            answer = running[name].ask(queries[number % len(queries)], tokens)
            process.wait_until_idle(running[name].pid)
            if number >= 0:
                answers[name, tokens].append(answer)
    return answers
