"""Lets people judge answers: `adequacy.py ask MODEL LABELS.tsv`, `adequacy.py report LABELS.tsv`.

`ask` writes the model's answers to 200 requests or those of --requests, with and without guards.
Two readers fill in the columns, as scripts/t5eval/search/rubric.md says. Labels of equal answers in
the file stay. `report` prints the shares of adequate and harmful answers. Needs the extra
`evaluate`.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from t5eval import service
from t5eval.errors import EvaluationError
from t5eval.search import reading
from t5serve.errors import StartupError
from t5serve.settings import Settings


def main() -> int:
    """Runs the command; returns 1 if something can't be used."""
    options = _build_parser().parse_args()
    try:
        if options.command == "ask":
            _ask(options.model, options.labels, options.requests)
        else:
            tqdm.write(reading.format_shares(reading.load(options.labels)))
    except (EvaluationError, StartupError, OSError, UnicodeError) as error:
        tqdm.write(f"adequacy: {error}", file=sys.stderr)
        return 1
    return 0


def _ask(model: str, path: Path, requests: Path) -> None:
    _, recipe = Settings(model=model).find_model()
    if recipe is None or not {reading.SEARCH, reading.PARAPHRASE} <= recipe.tasks.keys():
        raise EvaluationError(f"{model} is no recipe with the tasks search and paraphrase")
    asked = reading.read_requests(requests)
    earlier = reading.load(path) if path.exists() else []
    if not {one.request for one in earlier} <= {request for _, request in asked}:
        raise EvaluationError(f"{path} has labels of other requests: name another file")
    readings = reading.ask_all(
        partial(service.answer_requests, model, prefixes={}),
        recipe.tasks,
        asked,
        paraphrases=reading.PARAPHRASED if requests.resolve() == reading.REQUESTS else 0,
    )
    reading.save(reading.take_labels(readings, earlier), path)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    ask = commands.add_parser("ask", help="write the answers of a model")
    ask.add_argument("model", help="the name of a recipe")
    ask.add_argument(
        "--requests",
        type=Path,
        default=reading.REQUESTS,
        help="a source and a request a line; only the default's are paraphrased, 100 of them",
    )
    report = commands.add_parser("report", help="count what the readers said")
    for command in (ask, report):
        command.add_argument("labels", type=Path, help="a file of answers with their labels")
    return parser


if __name__ == "__main__":
    sys.exit(main())
