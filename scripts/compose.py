"""Composes requests and their searches: `python scripts/compose.py pairs DATA --out DIR`.

`pairs` writes composed.jsonl (the task `search`) and reworded.jsonl (`paraphrase`, `question`) for
training, and heldout.jsonl for measuring. `requests` writes what a teacher is to answer. `lists`
makes the lists of names that templates are filled with, of data packages that are installed.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from t5train import (
    asking,
    clean_text,
    composer,
    entities,
    forms,
    frames,
    lexicon,
    pairs,
    reworder,
    screening,
    searches,
    vocabulary,
)
from t5train.composer import Rows
from t5train.wordnet import WordNet

log = logging.getLogger("compose")

COUNT = 400_000
COMMON_WORDS = 20_000
KNOWN_WORDS = 60_000
TEXTS = 250_000
MOST = 6_000
PIECES = 10_048


def main(arguments: list[str] | None = None) -> int:
    """Runs a subcommand; 2 if something can't be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    commands = parser.add_subparsers(required=True)
    compose_pairs = commands.add_parser("pairs", help="requests and their searches")
    compose_pairs.add_argument(
        "data", type=Path, help="the folder with alexdong/, nq-open/ and so on"
    )
    compose_pairs.add_argument("--out", type=Path, required=True)
    compose_pairs.add_argument("--count", type=int, default=COUNT, help="rows of templates")
    compose_pairs.set_defaults(run=compose)
    requests = commands.add_parser("requests", help="requests for a teacher to answer")
    requests.add_argument("data", type=Path)
    requests.add_argument("--out", type=Path, required=True)
    requests.add_argument("--count", type=int, default=30_000)
    for command in (compose_pairs, requests):
        command.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
        command.add_argument("--lists", type=Path, nargs="*", default=[], help="of `lists`")
        command.add_argument("--seed", type=int, default=0)
    requests.set_defaults(run=write_requests)
    text = commands.add_parser("text", help="clean texts to make typos in")
    text.add_argument("--rows", type=Path, nargs="+", required=True, help="of `pairs`")
    text.add_argument("--out", type=Path, required=True)
    text.add_argument("--count", type=int, default=TEXTS, help="texts of rows")
    text.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    text.add_argument("--lists", type=Path, nargs="*", default=[], help="of `lists`")
    text.add_argument("--seed", type=int, default=0)
    text.set_defaults(run=write_text)
    pieces = commands.add_parser("vocabulary", help="learn the pieces of a new model")
    pieces.add_argument("--rows", type=Path, nargs="+", required=True, help="of `pairs`")
    pieces.add_argument("--out", type=Path, required=True, help="a directory for spiece.model")
    pieces.add_argument("--size", type=int, default=PIECES, help="number of pieces, with bytes")
    pieces.add_argument("--most", type=int, default=MOST, help="rows of an origin")
    pieces.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    pieces.add_argument("--seed", type=int, default=0)
    pieces.set_defaults(run=write_vocabulary)
    lists = commands.add_parser("lists", help="names by category, of data packages")
    lists.add_argument("--out", type=Path, required=True)
    lists.add_argument("--brands", type=Path, help="nsi.min.json of name-suggestion-index")
    lists.add_argument("--drugs", type=Path, help="the dictionary of drug-named-entity-recognition")
    lists.add_argument("--packages", type=Path, help="npm.txt of @cspell/dict-npm")
    lists.set_defaults(run=write_lists)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"compose: {error}\n")
        return 2
    return 0


def compose(options: argparse.Namespace) -> None:
    """Reads the sets, composes, writes, and logs how many rows each origin has."""
    rng = random.Random(options.seed)  # noqa: S311 - repeatable on purpose
    wordnet = WordNet(options.wordnet)
    pools = entities.pools(wordnet, options.lists, rng)
    misspellings = forms.Misspellings(
        forms.read_misspellings(options.data / "typos-dict" / "words.csv"),
        lexicon.list_frequent_words(COMMON_WORDS),
    )
    sets = composer.template_sets(options.data, wordnet)
    finite = [
        *composer.grounded(options.data),
        *composer.shortened(options.data, misspellings),
        *composer.disfluent(options.data),
    ]
    endless = (
        (row, held)
        for row, held in composer.filled(sets, pools, options.count, rng)
        if row.origin not in composer.SCREENED or screening.keeps_meaning(row)
    )
    words = frames.Reworder(
        frames.read_frames(), frames.read_synonyms(), wordnet.verbs(), wordnet.nouns()
    )
    asker = frames.Reworder(frames.read_frames(frames.WORDINGS / "questions.tsv"), {})
    composed, reworded = Rows(), Rows()
    composer.compose(composed, finite, endless, misspellings, rng)
    for row, held in (
        *reworder.wordings(options.data, rng),
        *reworder.reworded(sets, pools, options.count // 8, rng),
        *reworder.reframed(options.data, sets, pools, words, options.count // 8, rng),
        *reworder.asked(options.data, sets, pools, asker, options.count // 8, rng),
    ):
        if screening.keeps_meaning(row):
            reworded.add(row, held=held)
    measuring = [*composed.held, *reworded.held]
    labelled = composer.read_labelled()
    files = {
        "composed": composer.without_held(composed.train, measuring, labelled),
        "reworded": composer.without_held(reworded.train, measuring, labelled),
        "heldout": measuring,
    }
    for name, rows in files.items():
        rng.shuffle(rows)
        searches.write(options.out / f"{name}.jsonl", rows)
        _log_counts(name, (f"{row.task} {row.origin}" for row in rows))


def write_requests(options: argparse.Namespace) -> None:
    """Writes requests of all tasks, in the order in which they are to be answered."""
    rng = random.Random(options.seed + 1)  # noqa: S311 - repeatable, and not those of `pairs`
    wordnet = WordNet(options.wordnet)
    pools = entities.pools(wordnet, options.lists, rng)
    sets = composer.template_sets(options.data, wordnet)
    requests = asking.requests(options.data, sets, pools, options.count, rng)
    asking.write(options.out, requests)
    _log_counts("requests", (f"{request.task} {request.origin}" for request in requests))


def write_text(options: argparse.Namespace) -> None:
    """Writes clean texts, each once, in random order."""
    rng = random.Random(options.seed)  # noqa: S311 - repeatable on purpose
    pools = entities.pools(WordNet(options.wordnet), options.lists, rng)
    names = (word for pool in pools.values() for name in pool for word in name.lower().split())
    frequent = list(lexicon.list_frequent_words(KNOWN_WORDS))
    rows = (row for path in options.rows for row in searches.read(path))
    of_rows = list(dict.fromkeys(clean_text.list_clean(rows, frozenset([*frequent, *names]))))
    texts = {
        "rows": rng.sample(of_rows, min(options.count, len(of_rows))),
        "wordnet": list(dict.fromkeys(clean_text.read_glosses(options.wordnet))),
        "words": frequent,
    }
    lines = [line for part in texts.values() for line in part]
    rng.shuffle(lines)
    pairs.write_text(options.out, lines)
    for name, part in texts.items():
        log.info("text      %-40s %7d", name, len(part))


def write_vocabulary(options: argparse.Namespace) -> None:
    """Learns pieces from texts in which words are about as frequent as in what people ask."""
    rng = random.Random(options.seed)  # noqa: S311 - repeatable on purpose
    rows = (row for path in options.rows for row in searches.read(path))
    texts = [
        *clean_text.balance(rows, options.most, rng),
        *clean_text.read_glosses(options.wordnet),
        *clean_text.repeat_by_frequency(lexicon.rate_words(KNOWN_WORDS)),
    ]
    path = vocabulary.train(
        texts, options.size, options.out, byte_fallback=True, marks=[searches.MARK]
    )
    log.info("%s learnt from %d texts", path, len(texts))


def _log_counts(name: str, origins: Iterable[str]) -> None:
    for origin, count in sorted(Counter(origins).items()):
        log.info("%-9s %-40s %7d", name, origin, count)


def write_lists(options: argparse.Namespace) -> None:
    """Writes a list for each package that is given, and one of cities."""
    counts = entities.write_lists(
        options.out, brands=options.brands, drugs=options.drugs, packages=options.packages
    )
    for category, count in counts.items():
        log.info("%-12s %7d", category, count)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.exit(main())
