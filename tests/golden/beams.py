"""Beam search and diverse beam search, in many configurations.

Each case holds the `kwargs` that `generate` was given besides the tokens to suppress (padding,
the unknown piece, and all that are not pieces); what is missing from them has its default:
num_return_sequences 1, length_penalty 1.0, early_stopping false, num_beam_groups 1, and no
processors. `sequences` are without the start token, best first; each ends with the end mark or
is `max_new_tokens` long. `scores` are their `sequences_scores`, null for one beam, which is
greedy and has none. `gap` tells how near the search came to another result: see `ties.py`, and
for one beam `greedy` in make.py.
"""

import itertools
from collections.abc import Iterator

import torch
from reference import EOS, PAD, Json, draw, load_tiny, suppressed
from ties import watched
from transformers import PreTrainedModel, T5Tokenizer

from support import tiny

SEED = 1

# Encoder lengths of the tiny models' inputs.
LENGTHS = (3, 9, 25)

# Without 1.0 and false, which are the defaults.
ENDINGS: tuple[Json, ...] = tuple(
    {"length_penalty": penalty, "early_stopping": early}
    for penalty in (-1.0, 0.0, 0.6, 1.0, 2.0)
    for early in (False, True, "never")
    if penalty != 1.0 or early
)

PROCESSORS: tuple[Json, ...] = (
    {"repetition_penalty": 1.3},
    {"no_repeat_ngram_size": 2},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
)

# Beams, groups.
SHAPES = ((4, 2), (4, 4), (6, 2), (6, 3), (6, 6), (8, 2), (8, 4), (8, 8))


def tiny_cases() -> list[Json]:
    """Search each configuration with the restless models, which end, and most with one other."""
    runs: dict[str, list[tuple[Json, int]]] = {name: [] for name in tiny.FLAVOURS | tiny.RESTLESS}
    others = itertools.cycle(tiny.FLAVOURS)
    for index, kwargs in enumerate(configurations(20)):
        flavours = (
            [*tiny.RESTLESS] if "length_penalty" in kwargs else [*tiny.RESTLESS, next(others)]
        )
        for place, flavour in enumerate(flavours):
            runs[flavour].append((kwargs, LENGTHS[(index + place) % len(LENGTHS)]))
    return [case for flavour, wanted in runs.items() for case in searches(flavour, wanted)]


def searches(flavour: str, wanted: list[tuple[Json, int]]) -> Iterator[Json]:
    """Run one tiny model's searches."""
    model = load_tiny(flavour)
    torch.manual_seed(SEED)
    inputs = {length: draw(model, length) for length in LENGTHS}
    for kwargs, length in wanted:
        found = search(model, inputs[length], kwargs, pieces=tiny.PIECES)
        yield {"flavour": flavour, **found}


def embedded_cases(
    model: PreTrainedModel, tokenizer: T5Tokenizer, queries: list[str]
) -> list[Json]:
    """Search every query with four beams, and each fifth in a few other configurations."""
    plain = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 48}
    runs = [(query, plain) for query in queries]
    # A trained model's searches end early, so here it matters most when they do.
    bases = (plain, plain | {"num_beams": 8}, shaped(4, 2, 48), shaped(8, 2, 48, 0.5))
    others = [base | option for option in (*ENDINGS, *PROCESSORS) for base in bases]
    runs += zip(itertools.cycle(queries[::5]), others, strict=False)
    return [
        {"query": query} | search(model, tokenizer(query).input_ids, kwargs, pieces=len(tokenizer))
        for query, kwargs in runs
    ]


def configurations(tokens: int) -> list[Json]:
    """Return sets of options that between them cover what options do, alone and together."""
    found: list[Json] = [{"num_beams": 1, "max_new_tokens": count} for count in (1, 5, tokens)]
    for beams, count in itertools.product((2, 4, 8), (1, 5, tokens)):
        base = {"num_beams": beams, "max_new_tokens": count}
        found += [base, base | {"num_return_sequences": beams}]
    found += [kwargs for beams in (2, 4, 8) for kwargs in ended(beams, tokens)]
    found += [
        {"num_beams": beams, "max_new_tokens": tokens} | option
        for beams, option in itertools.product((1, 2, 4, 8), PROCESSORS)
    ]
    base = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": tokens} | PROCESSORS[-1]
    found += [
        base | {"length_penalty": penalty, "early_stopping": early}
        for penalty, early in ((0.6, True), (-1.0, "never"), (2.0, False))
    ]
    return [*found, *diverse(tokens), *diverse_ended(tokens)]


def ended(beams: int, tokens: int) -> list[Json]:
    """Return what decides when a search ends, and which hypothesis wins."""
    base = {"num_beams": beams, "num_return_sequences": beams, "max_new_tokens": tokens}
    return [base | option for option in ENDINGS]


def diverse(tokens: int) -> Iterator[Json]:
    """Yield configurations of diverse beam search."""
    for shape in SHAPES:
        for penalty in (0.5, 1.0, 2.0):
            yield shaped(*shape, tokens, penalty)
        yield shaped(*shape, tokens) | {"num_return_sequences": shape[0] // 2 - 1}
    for shape, count in zip(SHAPES[::2], (1, 5, 5, 1), strict=True):
        yield shaped(*shape, count)
    for shape, option in itertools.product(SHAPES, PROCESSORS):
        yield shaped(*shape, tokens, 0.5) | option


def diverse_ended(tokens: int) -> list[Json]:
    """Return what decides when a diverse search ends, each with one number of beams."""
    pairs = zip(itertools.cycle(SHAPES), ENDINGS, strict=False)
    return [shaped(*shape, tokens) | option for shape, option in pairs]


def shaped(beams: int, groups: int, tokens: int, penalty: float = 1.0) -> Json:
    return {
        "num_beams": beams,
        "num_beam_groups": groups,
        "diversity_penalty": penalty,
        "num_return_sequences": beams,
        "max_new_tokens": tokens,
    }


def search(model: PreTrainedModel, ids: list[int], kwargs: Json, *, pieces: int) -> Json:
    """Run one search."""
    with watched(model) as ties:
        output = model.generate(
            torch.tensor([ids]),
            do_sample=False,
            suppress_tokens=suppressed(model, pieces),
            return_dict_in_generate=True,
            output_scores=True,
            **kwargs,
        )
    sequences = [until_end(row) for row in output.sequences.tolist()]
    if kwargs["num_beams"] == 1:
        best = torch.cat(output.scores).topk(2).values
        scores, gap = None, (best[:, 0] - best[:, 1]).min().item()
    else:
        scores = [round(score, 6) for score in output.sequences_scores.tolist()]
        ranking = ties.ranking(len(sequences))
        gap = ties.gap
        if sequences != [hypothesis.ids for hypothesis in ranking]:
            raise ValueError(kwargs, sequences, ranking)
    return {
        "encoder_ids": ids,
        "kwargs": kwargs,
        "sequences": sequences,
        "scores": scores,
        "gap": round(gap, 6),
    }


def until_end(row: list[int]) -> list[int]:
    """Drop the start token, and what follows the end mark: padding, or more end marks."""
    if row[0] != PAD:
        raise ValueError(row)
    return row[1 : row.index(EOS) + 1] if EOS in row else row[1:]
