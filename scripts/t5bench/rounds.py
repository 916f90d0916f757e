"""Measures candidates side by side: every round runs each candidate once, in shuffled order.

Other load on the machine thus affects all candidates alike. Each runs alone: the next request
starts when the threads of the last candidate sleep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from random import Random

from t5bench import process
from t5bench.queries import Query
from t5bench.runner import Answer, Session

Answers = dict[tuple[str, int], list[Answer]]
"""Answers by candidate and tokens out, in the order of the rounds."""


def interleave(
    sessions: Mapping[str, Session],
    queries: Sequence[Query],
    rounds: Mapping[int, int],
    random: Random,
) -> Answers:
    """Asks every candidate for each number of tokens, after one request to warm up.

    Args:
        sessions: Sessions by the candidates' names.
        queries: Queries of one length; a round asks all candidates the same query.
        rounds: The number of rounds by tokens out.
        random: Shuffles each round.
    """
    answers: Answers = defaultdict(list)
    for number in range(-1, max(rounds.values())):  # round -1 builds graphs and fills caches
        jobs = [(name, out) for name in sessions for out in rounds if number < rounds[out]]
        random.shuffle(jobs)
        for name, tokens in jobs:
            answer = measure(sessions[name], queries[number % len(queries)], tokens)
            if number >= 0:
                answers[name, tokens].append(answer)
    return answers


def measure(session: Session, query: Query, tokens: int) -> Answer:
    """Asks once, and returns when the session's threads sleep.

    The processor time has what threads spin after the request, and nothing that the metrics take.
    """
    native = session.native_seconds()
    process.wait_until_idle(session.pid)
    busy = process.busy_seconds(session.pid)
    answer = session.ask(query, tokens)
    process.wait_until_idle(session.pid)
    answer = answer._replace(cpu_ms=1000 * (process.busy_seconds(session.pid) - busy))
    after = session.native_seconds()
    if native is None or after is None:
        return answer
    return answer._replace(native_ms=1000 * (after - native))
