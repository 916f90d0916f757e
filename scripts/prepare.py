"""Makes training and held-out files of the public sets: `python scripts/prepare.py DATA --out DIR`.

Writes train.tsv and text.txt, valid.tsv for early stopping, and heldout/*.tsv for measuring. The
held-out pairs are quora's valid and test questions, mqr, and a random tenth of the typo,
disfluency and query-generation sets: whole queries with all their variants. No training text
equals a held-out text, also without case and punctuation.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from t5train import lexicon, sources, typed_questions
from t5train.dataset import Dataset
from t5train.filters import find_fault
from t5train.pairs import Pair
from t5train.well_formedness import QuestionRater
from t5train.words import Frequencies, content, keywords, similarity

log = logging.getLogger("prepare")

HELD_OUT_SHARE = 0.1
HELD_OUT_SPLITS = ("valid", "test")
MIN_RATING = 0.35  # of the QuestionRater; a quarter of quora's questions are below
KEYWORDS_SHARE = 0.3  # of the questions: gives a keyword pair in each direction
MIN_SIMILARITY = 1 / 3  # of two queries that people typed for one topic
MAX_VARIANTS = 3  # of one query
WORDS = 60_000  # to learn spelling from; a seventh of mistyped words is in no training query


def main() -> int:
    """Reads the sets, holds out, filters, writes the files and prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__.split(":", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="the folder with quora/, typos/ and so on")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--words", type=int, default=WORDS, help="frequent words to spell; 0: none")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)

    dataset = Dataset(random.Random(options.seed))  # noqa: S311 - repeatable on purpose
    data: Path = options.data
    rater = QuestionRater(list(sources.read_rated(data / "wellformedness" / "train.tsv")))
    _log_accuracy(rater, list(sources.read_rated(data / "wellformedness" / "dev.tsv")))
    hold_out(dataset, data)
    questions = add_paraphrases(dataset, data, rater)
    add_topic_variants(dataset, data)
    add_fixes(dataset, data)
    add_expansions(dataset, data, questions)
    if options.words:
        words = lexicon.list_frequent_words(options.words)
        dataset.add_texts(f"wordfreq, {options.words:,} most frequent", words)
    dataset.write(options.out)
    for line in dataset.report():
        log.info(line)
    return 0


def _log_accuracy(rater: QuestionRater, rated: list[tuple[str, float]]) -> None:
    correct = sum((rater.rate(text) > 0.5) == (rating > 0.5) for text, rating in rated)
    log.info("well-formedness: right for %.1f %% of its dev set", 100 * correct / len(rated))


def hold_out(dataset: Dataset, data: Path) -> None:
    """Holds out the pairs for measuring. Must run before training pairs are added."""
    for split in HELD_OUT_SPLITS:
        questions = sources.read_quora(data / "quora" / f"{split}.tsv")
        dataset.hold_out(f"quora-{split}", (Pair("paraphrase", *pair) for pair in questions))
    dataset.hold_out(
        "mqr", (Pair("fix", *pair) for pair in sources.read_mqr(data / "mqr" / "dev.tsv"))
    )
    for clean, variants in sources.read_typos(data / "typos"):
        if dataset.draw(clean, HELD_OUT_SHARE):
            dataset.hold_out("typos", [Pair("fix", typo, clean) for typo in variants])
            dataset.hold_out("clean", [Pair("fix", clean, clean)])
    for disfluent, clean in sources.read_disfluent(data / "disfl-qa"):
        if dataset.draw(clean, HELD_OUT_SHARE):
            dataset.hold_out("disfluent", [Pair("fix", disfluent, clean)])
            dataset.hold_out("clean-questions", [Pair("fix", clean, clean)])
    for group, queries in sources.read_alexdong(data / "alexdong" / "full.jsonl"):
        if dataset.draw("|".join(queries), HELD_OUT_SHARE):
            dataset.hold_out(
                "questions", [Pair("expand", question, queries[0]) for question in group]
            )
    for left, right in sources.read_quora(data / "quora" / "valid.tsv"):
        if len(content(left)) > 1:
            dataset.hold_out("keywords", [Pair("expand", " ".join(content(left)), right)])


def add_paraphrases(dataset: Dataset, data: Path, rater: QuestionRater) -> list[str]:
    """Adds pairs of questions in both directions; returns the distinct questions."""
    questions: dict[str, None] = {}

    def add_pairs(name: str, pairs: Iterator[tuple[str, str]], *, both: bool = True) -> None:
        for pair in pairs:
            questions.update(dict.fromkeys(pair))
            for source, target in (pair, pair[::-1]) if both else (pair,):
                fault = find_fault(source, target)
                if fault is None and rater.rate(target) < MIN_RATING:
                    fault = "ill-formed"
                dataset.add_pair(name, Pair("paraphrase", source, target), fault)
                if fault is None and source.endswith("?"):
                    for typed in typed_questions.draw_variants(source, target, dataset.rng):
                        dataset.add_pair("as typed", Pair("paraphrase", *typed), find_fault(*typed))

    add_pairs("quora", sources.read_quora(data / "quora" / "train.tsv"))
    for group, _ in sources.read_alexdong(data / "alexdong" / "full.jsonl"):
        add_pairs("alexdong", sources.pair_with_next(group, MAX_VARIANTS), both=False)
    add_pairs("squad-paraphrase", sources.read_squad(data / "squad-paraphrase"))
    dataset.add_texts("quora, alexdong and squad-paraphrase questions", questions)
    return list(questions)


def add_topic_variants(dataset: Dataset, data: Path) -> None:
    """Adds pairs of similar queries that people typed for one topic."""
    for queries in sources.read_variants(data / "uqv" / "robust-uqv.txt"):
        dataset.add_texts("uqv", queries)
        dataset.rng.shuffle(queries)
        for source, target in sources.pair_with_next(queries, MAX_VARIANTS):
            fault = find_fault(source, target)
            if fault is None and similarity(source, target) < MIN_SIMILARITY:
                fault = "too far"  # the same topic, but another question
            dataset.add_pair("uqv", Pair("paraphrase", source, target), fault)


def add_fixes(dataset: Dataset, data: Path) -> None:
    """Adds pairs of a faulty and a clean query, and clean texts."""
    for clean, variants in sources.read_typos(data / "typos"):
        dataset.add_texts("typos, clean", [clean])
        for typo in variants:
            dataset.add_pair("typos", Pair("fix", typo, clean))
    for disfluent, clean in sources.read_disfluent(data / "disfl-qa"):
        dataset.add_texts("disfl-qa, clean", [clean])
        fault = "letters escaped twice" if "\\u" in disfluent + clean else None
        dataset.add_pair("disfl-qa", Pair("fix", disfluent, clean), fault)
    for split in ("train", "dev"):
        rated = sources.read_rated(data / "wellformedness" / f"{split}.tsv")
        well_formed = [text for text, rating in rated if rating >= 0.8]
        dataset.add_texts("wellformedness, rated 0.8 up", well_formed)


def add_expansions(dataset: Dataset, data: Path, questions: list[str]) -> None:
    """Adds pairs of a question and search terms, in both directions.

    alexdong's queries are left out: they are walks through a graph ("Country Country") and lose
    the question's subject.
    """
    frequencies = Frequencies(questions)
    for title, description in sources.read_topics(data / "trec-topics"):
        dataset.add_texts("trec-topics", [title, description])
        fault = None if frequencies.rarest(description) in content(title) else "rarest word lost"
        dataset.add_pair("trec-topics", Pair("expand", description, title), fault)
    for question in questions:
        terms = keywords(question)
        if not 2 <= len(terms) <= 10 or dataset.rng.random() > KEYWORDS_SHARE:
            continue
        dataset.add_pair("keywords of questions", Pair("expand", question, " ".join(terms)))
        if dataset.rng.random() < 0.3:
            dataset.rng.shuffle(terms)
        query = " ".join(terms)
        if dataset.rng.random() < 0.5:
            query = query.lower()
        dataset.add_pair("questions of keywords", Pair("expand", query, question))


if __name__ == "__main__":
    sys.exit(main())
