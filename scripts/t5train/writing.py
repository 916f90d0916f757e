"""Lets a teacher write answers, many at once: greedy or drawn, with their log-probabilities."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from transformers import DynamicCache

from t5train import prompts
from t5train.shards import Request, Shards, Written
from t5train.teacher import Teacher

log = logging.getLogger("distil")

POOL = 40  # batches that are sorted by length at once
FULL = 0.75  # a batch shrinks when less of its rows are still written
MAX_TOKENS = 96  # of an answer


class Answer(NamedTuple):
    """Token ids with the end mark, if it came, and their log-probability."""

    tokens: list[int]
    logprob: float


@torch.inference_mode()
def answers(
    teacher: Teacher, questions: Sequence[Sequence[int]], temperature: float = 0.0
) -> list[Answer]:
    """The answers to prompts of one length.

    Args:
        teacher: after `for_writing`.
        questions: token ids, (rows, length).
        temperature: 0 takes the likeliest token; the log-probability is without it.
    """
    results = [Answer([], 0.0) for _ in questions]
    cache = DynamicCache()
    ids = torch.tensor(list(map(list, questions)), device=teacher.device)
    alive = list(range(len(questions)))
    for _ in range(MAX_TOKENS):
        output = teacher.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logprobs = torch.log_softmax(output.logits[:, -1].float(), -1)
        chosen = _choose(logprobs, temperature)
        values = logprobs.gather(1, chosen)
        active = []
        for at, (token, value) in enumerate(zip(chosen[:, 0].tolist(), values, strict=True)):
            row = alive[at]
            if row >= 0:
                results[row] = Answer(
                    [*results[row].tokens, token], results[row].logprob + float(value)
                )
                alive[at] = -1 if token == teacher.end else row
            if alive[at] >= 0:
                active.append(at)
        if not active:
            break
        ids = chosen
        if len(active) < FULL * len(alive):
            index = torch.tensor(active, device=teacher.device)
            cache.batch_select_indices(index)
            ids, alive = chosen[index], [alive[at] for at in active]
    return results


def _choose(logprobs: torch.Tensor, temperature: float) -> torch.Tensor:
    """A token a row, (rows, 1)."""
    if not temperature:
        return logprobs.argmax(-1, keepdim=True)
    return torch.multinomial(torch.softmax(logprobs / temperature, -1), 1)


def groups(
    teacher: Teacher, requests: Sequence[Request], size: int
) -> Iterator[tuple[list[Request], list[list[int]]]]:
    """Requests with prompts of one length each, greedy and drawn ones apart."""
    for start in range(0, len(requests), size * POOL):
        pool = requests[start : start + size * POOL]
        by_length: dict[tuple[int, bool], list[tuple[Request, list[int]]]] = {}
        for request in pool:
            tokens = teacher.tokens(prompts.prompt(request.task, request.source))
            by_length.setdefault((len(tokens), request.sample > 0), []).append((request, tokens))
        for members in by_length.values():
            for at in range(0, len(members), size):
                part = members[at : at + size]
                yield [request for request, _ in part], [tokens for _, tokens in part]


def write(
    teacher: Teacher,
    requests: Sequence[Request],
    shards: Shards,
    size: int,
    temperature: float,
    wait: Callable[[], float] = lambda: 0.0,
) -> int:
    """Writes rows for all requests that have none; returns how many.

    Args:
        teacher: after `for_writing`.
        requests: in the order in which they are wanted, roughly.
        shards: where rows go; those that are there are skipped.
        size: rows at once.
        temperature: of the samples but the first.
        wait: called before each batch; returns for how many seconds it waited.
    """
    waiting = [
        request
        for request in requests
        if (request.task, request.source, request.sample) not in shards.done
    ]
    log.info("%d of %d requests are left", len(waiting), len(requests))
    started, count = time.monotonic(), 0
    for number, (part, tokens) in enumerate(groups(teacher, waiting, size)):
        started += wait()
        drawn = temperature if part[0].sample else 0.0
        written = answers(teacher, tokens, drawn)
        shards.append(_row(teacher, *pair) for pair in zip(part, written, strict=True))
        count += len(part)
        if number % 20 == 0:
            rate = 3600 * count / max(1e-9, time.monotonic() - started)
            log.info("%d rows, %.0f an hour", count, rate)
    return count


def _row(teacher: Teacher, request: Request, answer: Answer) -> Written:
    return Written(
        request.task,
        request.source,
        prompts.targets(teacher.text(answer.tokens)),
        request.origin,
        request.sample,
        round(answer.logprob, 3),
        len(answer.tokens),
        answer.tokens[-1:] == [teacher.end],
    )
