"""The share of lists of queries that prompt lookup drafts from the request, without a model.

`python tests/load/list_drafts.py ROWS.jsonl --vocabulary spiece.model`: a row has a `source` and
its `targets`. The worker's lookup is played through on the joined targets, as if a model chose
them.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from t5engine.worker import prompt_lookup


def main() -> None:
    """Prints the share of tokens drafted, by the number of queries."""
    options = _parser().parse_args()
    vocabulary = SentencePieceProcessor(model_file=str(options.vocabulary))
    eos = vocabulary.eos_id()
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for path in options.rows:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            source = [*vocabulary.encode(f"{options.prefix}{row['source']}"), eos]
            target = [*vocabulary.encode(options.separator.join(row["targets"])), eos]
            kept = count_kept(source, target, options.drafts)
            counts[len(row["targets"])] += Counter(rows=1, tokens=len(target), kept=kept)
    for size, count in sorted(counts.items()):
        share = count["kept"] / count["tokens"]
        print(
            f"{size} queries: {count['rows']} rows, {count['tokens']} tokens, {share:.1%} drafted"
        )


def count_kept(source: list[int], target: list[int], drafts: int) -> int:
    """Counts the drafted tokens of a sequence that stand; each spares a step."""
    done = kept = 0
    while done < len(target):
        draft = prompt_lookup.draft(source, target[:done], drafts)
        stand = 0
        while stand < len(draft) and done + stand + 1 < len(target):
            if draft[stand] != target[done + stand]:
                break
            stand += 1
        done += stand + 1
        kept += stand
    return kept


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, nargs="+", help="JSON lines with source and targets")
    parser.add_argument("--vocabulary", type=Path, required=True, help="a spiece.model")
    parser.add_argument("--prefix", default="search: ")
    parser.add_argument("--separator", default=" ; ")
    parser.add_argument("--drafts", type=int, default=3, help="tokens per step")
    return parser


if __name__ == "__main__":
    main()
