"""Lists the queries whose candidates guards refused, so that a reader can judge the guards."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from t5engine.messages import Output
from t5eval.messages import Answer
from t5eval.quality.answers import Answers, Plan
from t5eval.quality.labels import SEVERAL
from t5eval.report import format_table
from t5eval.service import CONCURRENCY, TIMEOUT_MS
from t5gguf.tasks import Task
from t5serve.concurrency import gather
from t5serve.models.served_model import ServedModel
from t5serve.reformulation.candidates import Candidate, is_usable
from t5serve.reformulation.guards.guards import Guards
from t5serve.reformulation.options import Options, decoding_of
from t5serve.reformulation.text import fold_sentence
from t5serve.settings import Settings

LEAST_SCORE = "least score"


@dataclass(frozen=True)
class Loss:
    """A query that was left alone because a guard refused all candidates.

    Attributes:
        candidate: The best candidate that is not the query itself.
        guard: What refused it.
    """

    task: str
    query: str
    candidate: str
    guard: str


def find_losses(model: str, plan: Plan, answers: Answers) -> list[Loss]:
    """Decodes the lost queries of all tasks again, and returns what refused the best candidate."""
    lost = [
        (task, query)
        for task in plan.tasks
        for query in find_lost_queries(plan.domain_queries, answers["reading", task])
    ]
    return asyncio.run(_explain_all(model, plan.tasks, lost))


def find_lost_queries(queries: Sequence[str], answers: Sequence[Answer]) -> list[str]:
    """Returns the queries that were left alone because of a guard."""
    pairs = zip(queries, answers, strict=True)
    return [query for query, answer in pairs if answer.unchanged_reason == "guard"]


async def _explain_all(
    model: str, tasks: Mapping[str, Task], lost: Sequence[tuple[str, str]]
) -> list[Loss]:
    async with ServedModel.from_settings(Settings(model=model, max_queue=CONCURRENCY)) as served:

        async def explain(task: str, query: str) -> Loss | None:
            options = Options.for_task(tasks[task], task=task, n=SEVERAL)
            result = await served.engine.generate(
                decoding_of(options, served.profile.generation),
                text=tasks[task].render(query),
                timeout=TIMEOUT_MS / 1000,
            )
            return explain_loss(task, query, result.generated.outputs, options)

        losses: list[Loss | None] = []
        for start in range(0, len(lost), CONCURRENCY):
            part = lost[start : start + CONCURRENCY]
            losses += await gather(explain(*pair) for pair in part)
    return [loss for loss in losses if loss is not None]


def explain_loss(task: str, query: str, outputs: Sequence[Output], options: Options) -> Loss | None:
    """Returns the best candidate and what refused it; None if the model gave only the query."""
    candidates = (Candidate.build(output, output.text, len(output.tokens)) for output in outputs)
    changed = [
        candidate
        for candidate in candidates
        if is_usable(candidate.text, query) and candidate.folded != fold_sentence(query)
    ]
    if not changed:
        return None
    best = max(changed, key=lambda candidate: candidate.score)
    guard = Guards(query, options.preserve, options.terms).violation(best.text)
    return Loss(task, query, best.text, guard or LEAST_SCORE)


def format_losses(losses: Sequence[Loss], *, model: str, page: str, command: str) -> str:
    """Returns the document that lists all of them, by task."""
    parts = [
        "# Queries whose answers guards refused",
        (
            f"For these queries, guards refused every candidate of `{model}`, so the service "
            "returned the query itself. The queries are from the "
            f"[labelled set]({page}#answers-labelled-by-a-rubric). Each line has the candidate "
            "with the highest score, and the first guard that refused it. A guard is a check that "
            "refuses an answer, for example because the answer lost a rare word. The column "
            "*refused by* names the guard; [api.md](api.md#guards) says what each guard refuses. "
            'For example, `negation` also refuses an opposite ("close" for "open"), and a changed '
            'word after a negation ("no pink" for "no kink"). Two names are not in api.md: '
            "`invention` refuses an unknown word, and `least score` a score that is too low. "
            f"The command that wrote [{page}]({page}) also wrote this list:"
            f"\n\n```sh\n{command}\n```"
        ),
    ]
    for task in dict.fromkeys(loss.task for loss in losses):
        own = [loss for loss in losses if loss.task == task]
        counts = Counter(loss.guard for loss in own).most_common()
        refused = ", ".join(f"{guard} {count}" for guard, count in counts)
        rows = [[loss.query, loss.candidate, loss.guard] for loss in own]
        parts += [
            f"## `{task}`: {len(own)} queries",
            f"By guard: {refused}.",
            format_table(["query", "best candidate", "refused by"], rows, 3),
        ]
    return "\n\n".join(parts) + "\n"
