"""Runs a decoding step: logits come from the backend, tokens from the searches."""

from __future__ import annotations

import time
from collections.abc import Sequence

from t5engine.backend import F32, Backend, BackendError, is_poisoned
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.search import Branch
from t5engine.messages import Failed, FromWorker, Generate
from t5engine.rows import assign_rows
from t5engine.worker.job import Generation
from t5engine.worker.judgement import Judgement
from t5engine.worker.model import Model


def decode_step(
    model: Model,
    generations: Sequence[Generation],
    drafts: int = 0,
    others: Sequence[Generation] = (),
    judgements: Sequence[Judgement] = (),
) -> list[FromWorker]:
    """Runs one decoding step of generations. Finished generations have no rows afterwards.

    Args:
        model: the model of the generations.
        generations: the generations that take part in the step.
        drafts: tokens to draft for a sequence that is decoded alone. A step over a few tokens of
            one row costs little more than over one token: the weights are read once.
        others: the other generations whose rows are open. Their rows may change.
        judgements: the inputs that wait for another step. Their rows may change.

    Returns:
        The messages for the service.
    """
    rows = [row for generation in generations for row in generation.rows]
    held: list[Generation | Judgement] = [*others, *judgements]
    draft = generations[0].draft(drafts) if len(generations) == 1 else []
    tokens = [token for generation in generations for token in generation.tokens]
    started = time.perf_counter()
    try:
        logits = model.backend.extend(rows, [[token, *draft] for token in tokens])
        if draft and is_poisoned(logits[0]):
            # A drafted token may overflow, and its NaN may reach other rows: repeat without drafts.
            draft = []
            model.backend.rewind(rows[0], generations[0].decoded)
            logits = model.backend.extend(rows, [[token] for token in tokens])
    except BackendError as error:
        _continue_branches(model.backend, generations, [], held)
        return [Failed(generation.request.job, str(error)) for generation in generations]
    seconds = time.perf_counter() - started
    messages: list[FromWorker] = []
    running: list[tuple[Generation, Branch]] = []
    start = 0
    for generation in generations:
        end = start + len(generation.rows)
        new_messages, branches = _choose_tokens(
            generation, logits[start:end], draft, seconds, len(rows)
        )
        start = end
        messages += new_messages
        running += [(generation, branch) for branch in branches]
    if draft and running:
        model.backend.rewind(rows[0], generations[0].decoded)
    _continue_branches(model.backend, generations, running, held)
    return messages


def run_greedily(
    model: Model, generation: Generation, drafts: int, descriptor: int
) -> list[FromWorker] | None:
    """Decodes several tokens of a generation that is alone, if nothing has to be done between.

    Args:
        model: the model of the generation.
        generation: the generation.
        drafts: tokens to draft, as in `decode_step`.
        descriptor: a file descriptor; the tokens end when there is something to read.

    Returns:
        The messages for the service. None: `decode_step` is needed.
    """
    started = time.perf_counter()
    try:
        result = generation.run_greedily(drafts, descriptor)
    except BackendError as error:
        _continue_branches(model.backend, [generation], [], [])
        return [Failed(generation.request.job, str(error))]
    if result is None:
        return None
    run, branches = result
    seconds = time.perf_counter() - started
    generation.record_step(seconds, 1, drafted=run.drafted, kept=run.kept)
    messages: list[FromWorker] = [] if branches else [generation.build_outcome()]
    running = [(generation, branch) for branch in branches]
    _continue_branches(model.backend, [generation], running, [])
    return messages


def _choose_tokens(
    generation: Generation,
    logits: Sequence[F32],
    draft: Sequence[int],
    seconds: float,
    batch: int,
) -> tuple[list[FromWorker], list[Branch]]:
    """Lets a generation choose its next tokens, as long as its choices equal the draft.

    Args:
        generation: the generation.
        logits: (1 + drafted tokens, n_vocab) per row of the generation.
        draft: the tokens that were fed after the next token.
        seconds: duration of the step.
        batch: sequences in the step.

    Returns:
        The messages for the service, and the sequences that continue.
    """
    job = generation.request.job
    if any(map(is_poisoned, logits)):
        return [Failed(job, "the model's numbers overflow on this input")], []
    messages: list[FromWorker] = []
    for position in range(1 + len(draft)):
        branches = generation.choose_tokens([row[position] for row in logits])
        messages += generation.collect_progress()
        if not branches or draft[position : position + 1] != [branches[0].token]:
            break
    generation.record_step(seconds, batch, drafted=len(draft), kept=position)
    if not branches:
        messages.append(generation.build_outcome())
    return messages, branches


def _continue_branches(
    backend: Backend,
    generations: Sequence[Generation],
    running: Sequence[tuple[Generation, Branch]],
    held: Sequence[Generation | Judgement],
) -> None:
    """Moves every sequence that continues to a row, and releases the other rows.

    The highest row of a step determines its cost. So the smaller of two groups gets the lowest
    rows: the generations of this step, or those that wait. Judgements get the highest rows,
    because they have only one step.
    """
    waiting: list[tuple[Generation | Judgement, Branch]] = []
    judged: list[tuple[Generation | Judgement, Branch]] = []
    for job in held:
        branches = [(job, Branch(index, token)) for index, token in enumerate(job.tokens)]
        (judged if isinstance(job, Judgement) else waiting).extend(branches)
    low: Sequence[tuple[Generation | Judgement, Branch]]
    low, high = (running, waiting) if len(running) <= len(waiting) else (waiting, running)
    if not waiting:
        low, high = running, ()
    branches = [*low, *high, *judged]
    everything = [*generations, *held]
    used = {row for generation in everything for row in generation.rows}
    parents = [generation.rows[branch.parent] for generation, branch in branches]
    rows = assign_rows(parents, len(low))
    backend.reorder(rows, parents)
    for row in used - set(rows):
        backend.release(row)
    for generation in everything:
        generation.rows, generation.tokens = [], []
    for row, (generation, branch) in zip(rows, branches, strict=True):
        generation.rows.append(row)
        generation.tokens.append(branch.token)


def warm_up(model: Model, drafts: int = 0) -> None:
    """Runs an encode and a few steps, so that the first request pays for no initialisation."""
    backend = model.backend
    ids = model.vocabulary.encode("warm up")[-backend.max_input_tokens :]
    if 0 < drafts < backend.max_tokens:
        backend.encode(0, ids)
        backend.extend([0], [[model.start_token] * (1 + drafts)])
    request = Generate(job=0, config=GenerationConfig(max_tokens=2), ids=ids)
    generation = Generation(request, model, 0)
    while generation.rows:
        for message in decode_step(model, [generation]):
            if isinstance(message, Failed):
                raise BackendError(message.message)
