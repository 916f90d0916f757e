"""Rows of the tasks `paraphrase` and `question`, of the same sets as those of `search`."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from t5train import comparisons, grammar, sources
from t5train.composer import is_suitable, questions
from t5train.concise import concise
from t5train.frames import Reworder
from t5train.grammar import Template
from t5train.searches import Row
from t5train.splitting import is_held
from t5train.typed_questions import lowercase
from t5train.words import normal

PARAPHRASE, QUESTION = "paraphrase", "question"
WORDINGS = 2  # of a group, those that each is paired with
TYPED = 0.4
COUNTING = re.compile(r"\b(?:how many|number of|any)\b")
REWORDED = "attributes"  # the templates whose alternatives all mean the same
FRAMES = "frames"
KEPT = "kept"  # what no frame says in other words
FORMS = 3  # of a question, those that are tried
CHAINS = "chains"  # their searches are parts of the question
CLEAN_SETS = frozenset({"wellformedness", "canard", "trec-cast"})


def wordings(data: Path, rng: random.Random) -> Iterator[tuple[Row, bool]]:
    """Two wordings of one group of alexdong, of those whose wordings name what they are about.

    In the other groups a wording often asks for less or more than the next one.
    """
    for group in comparisons.read(data / "alexdong" / "full.jsonl"):
        if len(list(comparisons.grounded(group))) < len(group.wordings):
            continue
        held = is_held("|".join(group.searches))
        for source, target in sources.pair_with_next(list(group.wordings), WORDINGS):
            yield _paraphrase(source, target, "alexdong", rng), held


def reworded(
    sets: Mapping[str, Sequence[tuple[str, Template]]],
    pools: Mapping[str, Sequence[str]],
    count: int,
    rng: random.Random,
) -> Iterator[tuple[Row, bool]]:
    """Two wordings that a template has for the same names.

    Of comparisons none are taken: their alternatives turn the direction, older to younger.
    """
    for _ in range(count):
        key, template = rng.choice(sets[REWORDED])
        first, second = grammar.rewordings(template, pools, rng, 2)
        texts = first.source, second.source
        if first.targets == second.targets and _ask_the_same(*map(normal, texts)):
            yield _paraphrase(first.source, second.source, REWORDED, rng), is_held(key)


def reframed(
    data: Path,
    sets: Mapping[str, Sequence[tuple[str, Template]]],
    pools: Mapping[str, Sequence[str]],
    reworder: Reworder,
    count: int,
    rng: random.Random,
) -> Iterator[tuple[Row, bool]]:
    """People's questions, their keywords and requests of templates, each in other forms and words.

    What no frame knows stays as it is: better no other wording than a wrong one.
    """
    requests = [(question, group) for _, group, question in questions(data)]
    requests += [(keywords, group) for text, group in requests if (keywords := concise(text))]
    for origin in (origin for origin in sets if origin != CHAINS):
        for _ in range(round(count / len(sets))):
            key, template = rng.choice(sets[origin])
            requests.append((grammar.fill(template, pools, rng).source, key))
    for request, group in requests:
        if is_suitable(request):
            reworded = {reworder.reword(request, rng) for _ in range(FORMS)} - {None}
            for text in sorted(filter(None, reworded)):
                yield _paraphrase(request, text, FRAMES, rng), is_held(group)
            if not reworded:
                yield _paraphrase(request, request, KEPT, rng), is_held(group)


def asked(
    data: Path,
    sets: Mapping[str, Sequence[tuple[str, Template]]],
    pools: Mapping[str, Sequence[str]],
    asker: Reworder,
    count: int,
    rng: random.Random,
) -> Iterator[tuple[Row, bool]]:
    """Keywords with the question that they are short for.

    That is the question from which they were taken, or what `asker` knows of their form.
    """
    for origin, group, question in questions(data):
        search = concise(question)
        is_clean = question[:1].isupper() and question.rstrip().endswith("?")
        if search and (text := asker.reword(search, rng)):
            yield _question(search, text, FRAMES, rng), is_held(group)
        if origin in CLEAN_SETS and is_clean and search and normal(search) != normal(question):
            yield _question(search, question, origin, rng), is_held(group)
    for origin in (origin for origin in sets if origin != CHAINS):
        templates = sets[origin]
        for _ in range(round(count / len(sets))):
            key, template = rng.choice(templates)
            request = grammar.fill(template, pools, rng)
            for target in request.targets:
                if text := asker.reword(target, rng):
                    yield _question(target, text, FRAMES, rng), is_held(key)
            if len(request.targets) == 1 and request.source.endswith("?"):
                yield _question(request.targets[0], request.source, origin, rng), is_held(key)


def _ask_the_same(first: str, second: str) -> bool:
    """Whether two wordings differ, but not in whether they ask for a number: who, how many."""
    return first != second and bool(COUNTING.search(first)) == bool(COUNTING.search(second))


def _paraphrase(source: str, target: str, origin: str, rng: random.Random) -> Row:
    if rng.random() < TYPED:
        source, target = lowercase(source), lowercase(target)
    return Row(PARAPHRASE, source, (target,), origin)


def _question(search: str, question: str, origin: str, rng: random.Random) -> Row:
    keywords = search.lower() if rng.random() < TYPED else search
    question = question[:1].upper() + question[1:].rstrip("?") + "?"
    target = question if keywords == search else f"{lowercase(question).rstrip('?')}?"
    return Row(QUESTION, keywords, (target,), origin)
