"""Makes training and held-out files of the public sets: `python scripts/prepare.py DATA --out DIR`.

Writes train.tsv and text.txt, valid.tsv for early stopping, and heldout/*.tsv for measuring. Held
out are quora's valid and test questions, mqr, and a random tenth of the typo, disfluency and
query-generation sets: whole queries with all their variants. No training text equals a held-out
one but for case and punctuation.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from t5train import asked, lexicon, sources
from t5train.collection import Collection
from t5train.filters import fault
from t5train.pairs import Pair
from t5train.wellformed import Judge
from t5train.words import Frequencies, content, keywords, similarity

log = logging.getLogger("prepare")

HELD_SHARE = 0.1
SPLITS = ("valid", "test")
MIN_RATING = 0.35  # the Judge's; a quarter of quora's questions are below
TO_KEYWORDS = 0.3  # of the questions, those that give a pair in either direction
NEAR_ENOUGH = 1 / 3  # of the words of two queries that people typed for one topic
MOST_VARIANTS = 3  # of one query
WORDS = 60_000  # to learn spelling from; a seventh of what people mistype is in no training query


def main() -> int:
    """Reads everything, holds out, filters, writes and prints what went in."""
    parser = argparse.ArgumentParser(description=__doc__.split(":", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="the folder with quora/, typos/ and so on")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--words", type=int, default=WORDS, help="frequent ones to spell; 0: none")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)

    made = Collection(random.Random(options.seed))  # noqa: S311 - repeatable on purpose
    data: Path = options.data
    judge = Judge(list(sources.rated(data / "wellformedness" / "train.tsv")))
    _check(judge, list(sources.rated(data / "wellformedness" / "dev.tsv")))
    hold_out(made, data)
    questions = paraphrases(made, data, judge)
    people_variants(made, data)
    fixes(made, data)
    expansions(made, data, questions)
    if options.words:
        made.text(f"wordfreq, {options.words:,} most frequent", lexicon.frequent(options.words))
    made.write(options.out)
    for line in made.report():
        log.info(line)
    return 0


def _check(judge: Judge, rated: list[tuple[str, float]]) -> None:
    right = sum((judge(text) > 0.5) == (rating > 0.5) for text, rating in rated)
    log.info("well-formedness: right for %.1f %% of its dev set", 100 * right / len(rated))


def hold_out(made: Collection, data: Path) -> None:
    """Everything that is for measuring; must come before what is for training."""
    for split in SPLITS:
        questions = sources.quora(data / "quora" / f"{split}.tsv")
        made.hold(f"quora-{split}", (Pair("paraphrase", *pair) for pair in questions))
    made.hold("mqr", (Pair("fix", *pair) for pair in sources.mqr(data / "mqr" / "dev.tsv")))
    for clean, variants in sources.typos(data / "typos"):
        if made.draw(clean, HELD_SHARE):
            made.hold("typos", [Pair("fix", typo, clean) for typo in variants])
            made.hold("clean", [Pair("fix", clean, clean)])
    for disfluent, clean in sources.disfluent(data / "disfl-qa"):
        if made.draw(clean, HELD_SHARE):
            made.hold("disfluent", [Pair("fix", disfluent, clean)])
            made.hold("clean-questions", [Pair("fix", clean, clean)])
    for group, queries in sources.alexdong(data / "alexdong" / "full.jsonl"):
        if made.draw("|".join(queries), HELD_SHARE):
            made.hold("questions", [Pair("expand", question, queries[0]) for question in group])
    for left, right in sources.quora(data / "quora" / "valid.tsv"):
        if len(content(left)) > 1:
            made.hold("keywords", [Pair("expand", " ".join(content(left)), right)])


def paraphrases(made: Collection, data: Path, judge: Judge) -> list[str]:
    """Pairs of questions, both directions; returns all questions seen, once each."""
    questions: dict[str, None] = {}

    def add(name: str, pairs: Iterator[tuple[str, str]], *, both: bool = True) -> None:
        for pair in pairs:
            questions.update(dict.fromkeys(pair))
            for source, target in (pair, pair[::-1]) if both else (pair,):
                reason = fault(source, target)
                if reason is None and judge(target) < MIN_RATING:
                    reason = "ill-formed"
                made.add(name, Pair("paraphrase", source, target), reason)
                if reason is None and source.endswith("?"):
                    for typed in asked.variants(source, target, made.rng):
                        made.add("as typed", Pair("paraphrase", *typed), fault(*typed))

    add("quora", sources.quora(data / "quora" / "train.tsv"))
    for group, _ in sources.alexdong(data / "alexdong" / "full.jsonl"):
        add("alexdong", sources.ordered(group, MOST_VARIANTS), both=False)
    add("squad-paraphrase", sources.squad(data / "squad-paraphrase"))
    made.text("quora, alexdong and squad-paraphrase questions", questions)
    return list(questions)


def people_variants(made: Collection, data: Path) -> None:
    """Queries that people typed for one topic, those that are near each other."""
    for queries in sources.variants(data / "uqv" / "robust-uqv.txt"):
        made.text("uqv", queries)
        made.rng.shuffle(queries)
        for source, target in sources.ordered(queries, MOST_VARIANTS):
            reason = fault(source, target)
            if reason is None and similarity(source, target) < NEAR_ENOUGH:
                reason = "too far"  # of one topic, but not one question
            made.add("uqv", Pair("paraphrase", source, target), reason)


def fixes(made: Collection, data: Path) -> None:
    """Faulty queries and clean ones."""
    for clean, variants in sources.typos(data / "typos"):
        made.text("typos, clean", [clean])
        for typo in variants:
            made.add("typos", Pair("fix", typo, clean))
    for disfluent, clean in sources.disfluent(data / "disfl-qa"):
        made.text("disfl-qa, clean", [clean])
        escaped = "letters escaped twice" if "\\u" in disfluent + clean else None
        made.add("disfl-qa", Pair("fix", disfluent, clean), escaped)
    for split in ("train", "dev"):
        rated = sources.rated(data / "wellformedness" / f"{split}.tsv")
        made.text("wellformedness, rated 0.8 up", [text for text, rating in rated if rating >= 0.8])


def expansions(made: Collection, data: Path, questions: list[str]) -> None:
    """Questions to search terms and back.

    Not alexdong's queries: walks through a graph ("Country Country"), which lose what was asked.
    """
    frequencies = Frequencies(questions)
    for title, description in sources.topics(data / "trec-topics"):
        made.text("trec-topics", [title, description])
        reason = None if frequencies.rarest(description) in content(title) else "rarest word lost"
        made.add("trec-topics", Pair("expand", description, title), reason)
    for question in questions:
        found = keywords(question)
        if not 2 <= len(found) <= 10 or made.rng.random() > TO_KEYWORDS:
            continue
        made.add("keywords of questions", Pair("expand", question, " ".join(found)))
        if made.rng.random() < 0.3:
            made.rng.shuffle(found)
        query = " ".join(found)
        if made.rng.random() < 0.5:
            query = query.lower()
        made.add("questions of keywords", Pair("expand", query, question))


if __name__ == "__main__":
    sys.exit(main())
