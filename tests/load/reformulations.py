"""Every strategy over many queries, each result checked against the contract.

`python tests/load/reformulations.py QUERIES.txt --limit 500`, one query a line. Nothing that the
service decides by is used to check it: folding, distances and names are worked out here anew.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Never

from tqdm import tqdm

from t5engine.config import WorkerConfig
from t5engine.cpus import plan
from t5engine.pool.engine import Engine
from t5gguf import recipe
from t5serve.errors import RequestError
from t5serve.reformulation.options import Options
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator
from t5serve.reformulation.results import QueryResult

TOGETHER = 32
SHOWN = 20
BASE = Options(timeout_ms=600_000)
PLAIN = {
    "greedy": replace(BASE, strategy="greedy"),
    "beam": replace(BASE, strategy="beam"),
    "beam, n = 4": replace(BASE, strategy="beam", n=4),
    "diverse_beam, n = 3": replace(BASE, strategy="diverse_beam", n=3),
    "sample, n = 4": replace(
        BASE, strategy="sample", n=4, parameters={"temperature": 1.2, "seed": 7}
    ),
}
FILTERED = {
    f"{name}, filtered": replace(
        options,
        preserve=frozenset({"numbers", "quoted", "capitalised"}),
        min_difference=0.2,
        include_original=True,
    )
    for name, options in PLAIN.items()
}
STRATEGIES: Mapping[str, Options] = {**PLAIN, **FILTERED}
SPECIAL = re.compile(r"<extra_id_|</?s>|<pad>|<unk>")


@dataclass
class Tally:
    """What came of the queries under one strategy."""

    queries: int = 0
    given: int = 0
    copies: int = 0
    fallbacks: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, query: str, options: Options, result: QueryResult) -> None:
        """Counts one result and checks it."""
        self.queries += 1
        ours = [one.text for one in result.reformulations if one.source == "model"]
        self.given += len(ours)
        self.copies += sum(folded(text) == folded(query) for text in ours)
        if result.fallback_reason is not None:
            self.fallbacks[result.fallback_reason] += 1
        found = faults(query, options, result)
        self.faults += [f"{fault}: {query!r} -> {ours}" for fault in found]


def faults(query: str, options: Options, result: QueryResult) -> list[str]:
    """What about a result the contract forbids."""
    every = [one.text for one in result.reformulations]
    ours = [one.text for one in result.reformulations if one.source == "model"]
    reason = result.fallback_reason or result.unchanged_reason
    stands_in = reason is not None and not ours  # the original, for what there is not
    least = options.min_difference
    pairs = combinations([query, *ours], 2)
    originals = [one.text for one in result.reformulations if one.source == "original"]
    rules = {
        "nothing at all": bool(every),
        "an empty text": all(text.strip() for text in every),
        "a duplicate": len(every) == len(set(map(folded, every))),
        "more than n": len(ours) <= options.n,
        "ranks": [one.rank for one in result.reformulations] == list(range(1, len(every) + 1)),
        "a score": all(
            one.score is None
            if one.source == "original"
            else one.score is not None and math.isfinite(one.score) and one.score <= 0
            for one in result.reformulations
        ),
        "special tokens": not any(SPECIAL.search(text) for text in ours),
        "the original": every[: len(originals)] == originals
        and originals == [query] * (options.include_original or stands_in),
        "no answer, and no reason": bool(ours) or stands_in,
        "a reason beside an answer": reason is None or set(ours) <= {query},
        "too little difference": not least
        or all(distance(words(one), words(other)) >= least - 1e-9 for one, other in pairs),
        **{f"lost {kind}": all(KEEPS[kind](query, t) for t in ours) for kind in options.preserve},
    }
    return [name for name, holds in rules.items() if not holds]


def folded(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", text).split())


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", folded(text)) or folded(text))


def distance(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """Levenshtein's, by its recursive definition, over the longer length."""

    @cache
    def edits(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        substituted = edits(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return min(substituted, edits(i - 1, j) + 1, edits(i, j - 1) + 1)

    return edits(len(one), len(other)) / max(len(one), len(other), 1)


def has_phrase(phrase: str, text: str) -> bool:
    """Whether the words of one stand side by side in the other."""
    looked_for, there = words(phrase), words(text)
    size = len(looked_for)
    return any(there[i : i + size] == looked_for for i in range(len(there)))


def keeps_numbers(query: str, text: str) -> bool:
    """Every run of digits as often, and those that points, colons and slashes join still joined."""
    query, text = (
        re.sub(r"(?<=\d),(?=\d)", "", unicodedata.normalize("NFKC", one)) for one in (query, text)
    )
    joined = re.findall(r"\d+(?:[.:/]\d+)+", query)
    runs, there = (Counter(re.findall(r"\d+", one)) for one in (query, text))
    return runs <= there and all(number in text for number in joined)


def keeps_quoted(query: str, text: str) -> bool:
    """What stands between straight double quotes, if they come in pairs."""
    parts = query.split('"')
    return len(parts) % 2 == 0 or all(
        has_phrase(part, text) for part in parts[1::2] if re.search(r"\w", part)
    )


def keeps_capitalised(query: str, text: str) -> bool:
    """Plain words with a capital, other than "I" and the first of a sentence."""
    if query.isupper():
        return True
    pairs = zip([".", *query.split()], query.split(), strict=False)
    names = [
        word.removesuffix(",").removesuffix("'s")
        for before, word in pairs
        if before.rstrip("\"'\u201d\u2019)")[-1:] not in (*".?!:", "")
        and re.fullmatch(r"[A-Za-z]*[A-Z][A-Za-z]*(?:'s)?,?", word)
        and word not in ("I", "I's", "I,")
    ]
    return all(has_phrase(name, text) for name in names)


KEEPS = {"numbers": keeps_numbers, "quoted": keeps_quoted, "capitalised": keeps_capitalised}


async def check(
    model: Path,
    queries: Sequence[str],
    strategies: Mapping[str, Options] = STRATEGIES,
    workers: int = 1,
) -> dict[str, Tally]:
    """What came of the queries under each of the strategies."""
    configs = [
        WorkerConfig(str(model), share.threads, list(share.cpus), 512)
        for share in plan(workers, None)
    ]
    tallies = {name: Tally() for name in strategies}
    work = ((name, query) for name in strategies for query in queries)

    async def caller(reformulator: Reformulator, bar: tqdm[Never]) -> None:
        for name, query in work:
            options = strategies[name]
            try:
                (result,) = await reformulator.reformulate([query], options)
                tallies[name].add(query, options, result)
            except RequestError as error:
                tallies[name].faults.append(f"refused: {query!r}: {error.message}")
            bar.update()

    async with Engine(configs, max_queue=TOGETHER) as engine:
        reformulator = Reformulator(engine, Profile.of(await engine.ready(), None))
        total = len(queries) * len(strategies)
        with tqdm(total=total, unit="query", disable=None) as bar:
            await asyncio.gather(*(caller(reformulator, bar) for _ in range(TOGETHER)))
    return tallies


def table(tallies: Mapping[str, Tally]) -> str:
    """In Markdown."""
    rows = [
        "| strategy | queries | mean given | fallbacks | copies of the query | faults |",
        "|---|--:|--:|---|--:|--:|",
    ]
    for name, tally in tallies.items():
        reasons = ", ".join(f"{reason} {count}" for reason, count in tally.fallbacks.most_common())
        mean = tally.given / max(1, tally.queries)
        rows.append(
            f"| {name} | {tally.queries} | {mean:.2f} | {reasons or 'none'} | {tally.copies}"
            f" | {len(tally.faults)} |"
        )
    return "\n".join(rows)


def main() -> int:
    """Prints the table and the first faults; 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("queries", type=Path, help="a text file, one query a line")
    parser.add_argument("--limit", type=int, help="only so many of them")
    parser.add_argument("--model", type=Path, default=recipe.load("tiny-t5").model_path())
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    lines = [line for line in options.queries.read_text().splitlines() if line.strip()]
    tallies = asyncio.run(check(options.model, lines[: options.limit], workers=options.workers))
    tqdm.write(table(tallies))
    found = [f"{name}: {fault}" for name, tally in tallies.items() for fault in tally.faults]
    if not found:
        return 0
    tqdm.write("\n".join(found[:SHOWN]), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
