"""Requests for a teacher to answer: questions of the sets, templates without targets, keywords."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from t5train import comparisons, composer, grammar, sources
from t5train.pairs import PairsError
from t5train.reworder import PARAPHRASE, QUESTION
from t5train.shards import Request
from t5train.splitting import is_held
from t5train.typed_questions import lowercase

SEARCH = composer.TASK
TYPED, REWORDED = 0.4, 0.35
ANSWERED = ("requests", "attributes", "comparisons")  # templates of which some are asked again
KEYWORD_ORIGINS = ("keywords", "requests", "attributes")


def texts(data: Path) -> Iterator[tuple[str, str, str]]:
    """Origin, group and text of what people asked, without what is held out."""
    yield from composer.questions(data)
    for text, _ in sources.read_rated(data / "wellformedness" / "train.tsv"):
        yield "wellformedness", text, text
    for group in comparisons.read(data / "alexdong" / "full.jsonl"):
        if not comparisons.is_chain(group.searches):
            for wording in group.wordings:
                yield "alexdong", "|".join(group.searches), wording


def requests(
    data: Path,
    sets: Mapping[str, Sequence[tuple[str, grammar.Template]]],
    pools: Mapping[str, Sequence[str]],
    count: int,
    rng: random.Random,
) -> list[Request]:
    """Requests of the three tasks in the order in which a teacher answers them.

    Args:
        data: the folder of the sets.
        sets: templates by origin.
        pools: names by category.
        count: requests of `asks.txt`; the others go by it.
        rng: draws.
    """
    asked = [(origin, text) for origin, group, text in texts(data) if _is_wanted(group, text)]
    asks = list(grammar.read_sources(composer.ASKS))
    drawn = {"asks": (asks, count)}
    for origin in ANSWERED:
        templates = [template for key, template in sets[origin] if not is_held(key)]
        drawn[origin] = (templates, count // 6)
    for origin, (templates, size) in drawn.items():
        fills = (grammar.fill(rng.choice(templates), pools, rng) for _ in range(size))
        asked += [(origin, request.source) for request in fills]
    rng.shuffle(asked)
    searching = [Request(SEARCH, _form(text, rng), origin) for origin, text in asked]
    rewording = [
        request._replace(task=PARAPHRASE) for request in searching if rng.random() < REWORDED
    ]
    asking = [
        Request(QUESTION, text, origin) for origin, text in _keywords(sets, pools, count, rng)
    ]
    return _unique([*searching, *rewording, *asking])


def _is_wanted(group: str, text: str) -> bool:
    return not is_held(group) and composer.is_suitable(text)


def _form(text: str, rng: random.Random) -> str:
    clean = " ".join(text.split())
    return lowercase(clean) if rng.random() < TYPED and len(clean) > 1 else clean


def _keywords(
    sets: Mapping[str, Sequence[tuple[str, grammar.Template]]],
    pools: Mapping[str, Sequence[str]],
    count: int,
    rng: random.Random,
) -> Iterator[tuple[str, str]]:
    for origin in KEYWORD_ORIGINS:
        templates = [template for key, template in sets[origin] if not is_held(key)]
        for _ in range(count // len(KEYWORD_ORIGINS)):
            request = grammar.fill(rng.choice(templates), pools, rng)
            yield origin, _form(rng.choice(request.targets or (request.source,)), rng)


def _unique(requests: Iterable[Request]) -> list[Request]:
    return list(dict.fromkeys(requests))


def write(path: Path, requests: Iterable[Request]) -> int:
    """Writes requests as JSON lines; returns how many."""
    lines = [json.dumps(request._asdict(), ensure_ascii=False) for request in requests]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)


def read(path: Path) -> Iterator[Request]:
    """The requests of a file.

    Raises:
        PairsError: a line is no request.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Request(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise PairsError(f"{path}:{number} is no request: {error}") from error
