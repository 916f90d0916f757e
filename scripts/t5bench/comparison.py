"""Compares all candidates on one shape, from its files to its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import Any

from t5bench import bandwidth, candidates, derived, figures, process, tune
from t5bench.candidate import Candidate
from t5bench.candidates import Choice
from t5bench.files import Files
from t5bench.queries import Query, draw_queries, tokenise_lines
from t5bench.rounds import Answers, interleave
from t5bench.runner import Session, cold_start
from t5engine import cpus

Results = dict[str, Any]
QUERIES_PER_LENGTH = 8  # asked in turn


@dataclass(frozen=True)
class Plan:
    """The measurements to take, the same for every shape.

    Attributes:
        choice: The candidates. The answers of the first are the agreement's reference.
        tokens_in: Input lengths, `</s>` included.
        tokens_out: Output lengths.
        main: The pair of input and output length of the main table.
        rounds: Rounds of the other pairs.
        main_rounds: Rounds of the main pair.
        trial_rounds: Rounds to find a peer's settings.
        cold_starts: Cold starts of each candidate.
        threads: Threads of each candidate; None: as many as a worker takes.
        lines: Real queries, for agreement.
        seed: The seed of inputs and shuffles.
    """

    choice: Choice
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

    def rounds_by_output(self, tokens_in: int) -> dict[int, int]:
        """Returns the rounds of an input length, by tokens out."""
        return {
            out: self.main_rounds if (tokens_in, out) == self.main else self.rounds
            for out in self.tokens_out
        }


def compare(files: Files, plan: Plan, prefix: str) -> Results:
    """Makes missing files, finds each peer's best settings, and measures all side by side.

    Raises:
        BenchError: A candidate failed.
        ConversionError: t5gguf refuses the checkpoint.
    """
    share = cpus.plan(1, plan.threads)[0]
    random = Random(plan.seed)  # noqa: S311 - a shuffle
    inputs = {
        tokens: draw_queries(files.vocabulary, tokens, QUERIES_PER_LENGTH, plan.seed)
        for tokens in plan.tokens_in
    }
    compared, spaces = candidates.list_candidates(plan.choice, files, share, prefix)
    speeds = [bandwidth.measure(share)]
    trials = []
    for space in spaces:
        print_progress(f"{space.name}: which of {len(space.candidates)} settings is best")
        trial, best = tune.select_fastest(
            space, inputs[plan.main[0]], plan.main[1], plan.trial_rounds, random
        )
        trials.append(trial)
        compared.append(best)
    with ExitStack() as stack:
        sessions, cold_starts = {}, {}
        for candidate in compared:
            print_progress(f"{candidate.name}: starting")
            session, cold_starts[candidate.name] = _start(candidate, inputs, plan)
            sessions[candidate.name] = session
            stack.callback(session.close)
        answers = {}
        for tokens, queries in inputs.items():
            print_progress(f"{tokens} tokens in")
            answers[tokens] = interleave(sessions, queries, plan.rounds_by_output(tokens), random)
            speeds.append(bandwidth.measure(share))
        agreement = _measure_agreement(compared, sessions, files, plan, prefix)
        memory = {name: process.measure_memory(session.pid) for name, session in sessions.items()}
    results = {
        "shape": files.directory.name,
        "threads": share.threads,
        "bytes_per_second": max(speeds),
        "main": plan.main,
        "tournaments": trials,
        "contestants": [
            {
                "name": candidate.name,
                "inside": candidate.in_process_name,
                **_describe_allowance(candidate, trials, share),
                "weight_bytes": candidate.weight_bytes,
                "position_bytes": bandwidth.position_bytes(
                    files.config, candidate.cache_item_bytes
                ),
                "cold_start_ms": [1000 * seconds for seconds in cold_starts[candidate.name]],
                **memory[candidate.name],
                "logits": files.read_figures(candidate.file_type) if candidate.file_type else None,
                "agreement": agreement.get(candidate.name),
            }
            for candidate in compared
        ],
        "cells": _make_cells(answers),
    }
    derived.add_derived(results)
    return results


def print_progress(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


def _start(
    candidate: Candidate, inputs: Mapping[int, Sequence[Query]], plan: Plan
) -> tuple[Session, list[float]]:
    """Returns the session of the last cold start, and the seconds of every cold start."""
    tokens_in, tokens_out = plan.main
    seconds: list[float] = []
    while True:
        session, elapsed = cold_start(candidate.runner, inputs[tokens_in][0], tokens_out)
        seconds.append(elapsed)
        process.wait_until_idle(session.pid)
        if len(seconds) == plan.cold_starts:
            return session, seconds
        session.close()


def _describe_allowance(
    candidate: Candidate, trials: Sequence[Results], share: cpus.Share
) -> Results:
    """Returns what the candidate may use: instruction sets, threads, settings and packages.

    `best` is the label of the fastest settings, if there were several.
    """
    best = [trial["best"] for trial in trials if trial["name"] == candidate.name]
    return {
        "group": candidate.group,
        "instruction_sets": candidate.instruction_sets,
        "threads": share.threads,
        "best": best[0] if best else None,
        "settings": candidate.runner.settings,
    }


def _make_cells(answers: Mapping[int, Answers]) -> list[Results]:
    return [
        {"contestant": name, "tokens_in": tokens, "tokens_out": out, **figures.summarise(cell)}
        for tokens, cells in answers.items()
        for (name, out), cell in cells.items()
    ]


def _measure_agreement(
    compared: Sequence[Candidate],
    sessions: Mapping[str, Session],
    files: Files,
    plan: Plan,
    prefix: str,
) -> dict[str, float]:
    """Returns the share of real queries with the first candidate's tokens, by candidate."""
    queries = tokenise_lines(files.vocabulary, plan.lines, prefix)
    outputs = {}
    for candidate in compared:
        if candidate.in_process_name is None:
            session, eos = sessions[candidate.name], files.config.eos_token_id
            answers = [session.ask(query, plan.main[1], fixed=False) for query in queries]
            outputs[candidate.name] = [
                figures.cut_at(answer.tokens or [], eos) for answer in answers
            ]
    reference = next(iter(outputs.values()))
    return {name: figures.agreement(tokens, reference) for name, tokens in outputs.items()}
