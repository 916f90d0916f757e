"""One shape's contest, from its files to its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import Any

from t5bench import bandwidth, derived, figures, lineup, process, tournament
from t5bench.contestant import Running, cold_start
from t5bench.files import Files
from t5bench.lineup import Entry
from t5bench.queries import Query, of_length, of_lines
from t5bench.rounds import Answers, interleave
from t5engine import cpus

Results = dict[str, Any]
INPUTS = 8  # of each length, in turn


@dataclass(frozen=True)
class Plan:
    """What is asked for, of every shape alike.

    Attributes:
        groups: of contestants, by `lineup.GROUPS`.
        kinds: types of GGUF files; the first is what the others' answers are compared with.
        tokens_in: lengths of inputs, `</s>` included.
        tokens_out: lengths of outputs.
        main: the pair of them that most is said about.
        rounds: of the other pairs.
        main_rounds: of that one.
        trial_rounds: of tournaments.
        cold_starts: of each contestant.
        threads: of each contestant; None: as many as a worker takes.
        lines: real queries, for agreement.
        seed: of inputs and shuffles.
    """

    groups: Sequence[str]
    kinds: Sequence[str]
    tokens_in: Sequence[int]
    tokens_out: Sequence[int]
    main: tuple[int, int]
    rounds: int
    main_rounds: int
    trial_rounds: int
    cold_starts: int
    threads: int | None
    lines: Sequence[str]
    seed: int

    def rounds_of(self, tokens_in: int) -> dict[int, int]:
        """By tokens out, for inputs of that length."""
        return {
            out: self.main_rounds if (tokens_in, out) == self.main else self.rounds
            for out in self.tokens_out
        }


def contest(files: Files, plan: Plan, prefix: str) -> Results:
    """Makes what is missing, finds each peer's best settings, measures all side by side.

    Raises:
        BenchError: a contestant failed.
        ConversionError: t5gguf refuses the checkpoint.
    """
    share = cpus.plan(1, plan.threads)[0]
    random = Random(plan.seed)  # noqa: S311 - a shuffle
    inputs = {
        tokens: of_length(files.vocabulary, tokens, INPUTS, plan.seed) for tokens in plan.tokens_in
    }
    entries, tournaments = lineup.of(plan.groups, plan.kinds, files, share, prefix)
    speeds = [bandwidth.measure(share)]
    trials = []
    for one in tournaments:
        say(f"{one.name}: which of {len(one.entries)} settings is best")
        found, best = tournament.winner(
            one, inputs[plan.main[0]], plan.main[1], plan.trial_rounds, random
        )
        trials.append(found)
        entries.append(best)
    with ExitStack() as stack:
        running, cold = {}, {}
        for entry in entries:
            say(f"{entry.name}: starting")
            running[entry.name], cold[entry.name] = _start(entry, inputs, plan)
            stack.callback(running[entry.name].close)
        answers = {}
        for tokens, queries in inputs.items():
            say(f"{tokens} tokens in")
            answers[tokens] = interleave(running, queries, plan.rounds_of(tokens), random)
            speeds.append(bandwidth.measure(share))
        agreeing = _agreement(entries, running, files, plan, prefix)
        memory = {name: process.memory(one.pid) for name, one in running.items()}
    results = {
        "shape": files.directory.name,
        "threads": share.threads,
        "bytes_per_second": max(speeds),
        "main": plan.main,
        "tournaments": trials,
        "contestants": [
            {
                "name": entry.name,
                "inside": entry.inside,
                "settings": entry.contestant.settings,
                "weight_bytes": entry.weight_bytes,
                "position_bytes": bandwidth.position_bytes(files.config, entry.cache_item),
                "cold_start_ms": [1000 * seconds for seconds in cold[entry.name]],
                **memory[entry.name],
                "logits": files.figures(entry.kind) if entry.kind else None,
                "agreement": agreeing.get(entry.name),
            }
            for entry in entries
        ],
        "cells": _cells(answers),
    }
    derived.add(results)
    return results


def say(text: str) -> None:
    """Progress."""
    print(text, flush=True)


def _start(
    entry: Entry, inputs: Mapping[int, Sequence[Query]], plan: Plan
) -> tuple[Running, list[float]]:
    """Several times from nothing to the first answer; the last one goes on running."""
    tokens_in, tokens_out = plan.main
    seconds: list[float] = []
    while True:
        running, taken = cold_start(entry.contestant, inputs[tokens_in][0], tokens_out)
        seconds.append(taken)
        process.wait_until_idle(running.pid)
        if len(seconds) == plan.cold_starts:
            return running, seconds
        running.close()


def _cells(answers: Mapping[int, Answers]) -> list[Results]:
    return [
        {"contestant": name, "tokens_in": tokens, "tokens_out": out, **figures.cell(taken)}
        for tokens, found in answers.items()
        for (name, out), taken in found.items()
    ]


def _agreement(
    entries: Sequence[Entry],
    running: Mapping[str, Running],
    files: Files,
    plan: Plan,
    prefix: str,
) -> dict[str, float]:
    """Share of real queries that each answers as the first contestant does, token for token."""
    queries = of_lines(files.vocabulary, plan.lines, prefix)
    outputs = {}
    for name in (entry.name for entry in entries if entry.inside is None):
        taken = [running[name].ask(query, plan.main[1], fixed=False) for query in queries]
        end = files.config.eos_token_id
        outputs[name] = [figures.until(answer.tokens or [], end) for answer in taken]
    reference = next(iter(outputs.values()))
    return {name: figures.agreement(found, reference) for name, found in outputs.items()}
