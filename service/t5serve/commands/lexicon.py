"""`t5serve lexicon`: makes a lexicon of a collection's words."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from t5serve.errors import StartupError
from t5serve.reformulation.lexicon import Lexicon
from t5serve.reformulation.text import plain_words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("files", nargs="*", type=Path, help="text files; by default stdin")
    parser.add_argument(
        "--terms", action="store_true", help="the files have an index's terms: term, tab, count"
    )
    parser.add_argument(
        "--min-count", type=int, default=1, metavar="N", help="leave out rarer words (1)"
    )
    parser.add_argument("--out", type=Path, help="the lexicon; by default stdout")


def run(options: argparse.Namespace) -> int:
    """Writes each word and its count, the most frequent first.

    Raises:
        StartupError: a file can't be read or written, or has no words.
    """
    counts: Counter[str] = Counter()
    if options.terms:
        for path in options.files or [Path("/dev/stdin")]:
            counts.update(Lexicon.read(path).counts)
    else:
        for line in _read_lines(options.files):
            counts.update(plain_words(line))
    kept = [(word, count) for word, count in counts.most_common() if count >= options.min_count]
    if not kept:
        raise StartupError("the input has no words")
    text = "".join(f"{word}\t{count}\n" for word, count in kept)
    if options.out is None:
        sys.stdout.write(text)
        return 0
    try:
        options.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartupError(f"{options.out}: {error.strerror}") from error
    print(f"{options.out}: {len(kept)} words", file=sys.stderr)
    return 0


def _read_lines(files: list[Path]) -> Iterator[str]:
    if not files:
        yield from sys.stdin
    for path in files:
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                yield from file
        except OSError as error:
            raise StartupError(f"{path}: {error.strerror}") from error
