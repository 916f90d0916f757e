"""Composes rows of the task `search`: from templates without end, and from sets of questions.

Held-out groups (a group of wordings, a template, a question) go to a file of their own and are in
no training row.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from t5train import comparisons, differences, forms, grammar, sources, traits
from t5train.concise import concise
from t5train.forms import Misspellings
from t5train.grammar import GrammarError, Template
from t5train.searches import Row
from t5train.splitting import is_held
from t5train.wordnet import WordNet
from t5train.words import normal

TASK = "search"
TEMPLATES = Path(__file__).parent / "templates"
LABELLED = [
    Path(__file__).parents[1] / "t5eval" / "search" / name
    for name in ("requests.tsv", "everyday.tsv")
]
# How often a row comes from each source of templates, relative to the others.
SHARES = {
    "alexdong-templates": 0.13,
    "comparisons": 0.13,
    "attributes": 0.1,
    "requests": 0.08,
    "everyday": 0.03,
    "chains": 0.06,
    "negations": 0.02,
    "negative": 0.04,
    "numbers": 0.05,
    "science": 0.05,
    "wordnet": 0.03,
    "keywords": 0.06,
    "computing": 0.04,
    "documents": 0.04,
    "forums": 0.04,
    "knowledge": 0.04,
    "limits": 0.04,
    "living": 0.04,
    "messy": 0.04,
    "several": 0.05,
    "shopping": 0.04,
    "spoken": 0.04,
    "statements": 0.04,
    "workplace": 0.04,
}
# The sources whose rows must pass the guards, with the names that they were filled with: what the
# guards refuse is not served, so the model need not learn it.
SCREENED = frozenset(
    """
    chains computing documents everyday forums knowledge limits living messy negations negative
    numbers science several shopping statements workplace
    """.split()  # noqa: SIM905
)
KEYWORDS, ASKS = TEMPLATES / "keywords.txt", TEMPLATES / "asks.txt"
AS_KEYWORDS = 0.3  # of the searches, those that are a row of their own: keywords stay as they are
LONGEST = 220  # letters of a request
MIN_RATING = 0.6  # of a question's well-formedness
UNSUITABLE = frozenset("sex sexual sexy porn penis vagina nude naked orgasm suicide".split())  # noqa: SIM905


@dataclass
class Rows:
    """Training rows and held-out ones, each request once."""

    train: list[Row] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)
    _seen: set[tuple[str, ...]] = field(default_factory=set)

    def add(self, row: Row, *, held: bool) -> None:
        """Takes a row, unless its request is known or has no searches of its own."""
        key = (row.source, *row.targets)
        if key not in self._seen and row.targets and len(row.source) <= LONGEST:
            self._seen.add(key)
            (self.held if held else self.train).append(row)


def read_labelled(paths: Iterable[Path] = LABELLED) -> set[str]:
    """Returns the requests that readers label, without case and punctuation."""
    lines = [line for path in paths for line in path.read_text("utf-8").splitlines()[1:]]
    return {normal(line.partition("\t")[2]) for line in lines}


def without_held(
    rows: Iterable[Row], held: Iterable[Row], labelled: Collection[str] = ()
) -> list[Row]:
    """Leaves out rows that ask what a held-out row asks; case and punctuation don't count."""
    requests = {normal(row.source) for row in held} | {*labelled}
    return [row for row in rows if normal(row.source) not in requests]


def template_sets(data: Path, wordnet: WordNet) -> dict[str, list[tuple[str, Template]]]:
    """Returns all templates by origin, each with the group that decides whether it is held out."""
    sets: dict[str, list[tuple[str, Template]]] = {"alexdong-templates": []}
    for group in comparisons.read(data / "alexdong" / "full.jsonl"):
        key = "|".join(group.searches)
        sets["alexdong-templates"] += [(key, template) for template in comparisons.templates(group)]
    for path in sorted(TEMPLATES.glob("*.tsv")):
        sets[path.stem] = [(template.source, template) for template in grammar.read(path)]
    sets["wordnet"] = [(template.source, template) for template in traits.templates(wordnet)]
    sets["keywords"] = [(template.source, template) for template in grammar.read_sources(KEYWORDS)]
    return sets


def filled(
    sets: Mapping[str, Sequence[tuple[str, Template]]],
    pools: Mapping[str, Sequence[str]],
    count: int,
    rng: random.Random,
) -> Iterator[tuple[Row, bool]]:
    """Rows of templates by SHARES, and whether each is held out.

    Raises:
        GrammarError: a template asks for names that no pool has.
    """
    for origin, templates in sets.items():
        needed = {category for _, template in templates for category in template.categories()}
        missing = needed - pools.keys()
        if missing:
            raise GrammarError(f"the templates of {origin} need names of {sorted(missing)}")
        buckets = _by_targets(templates)
        for _ in range(round(count * SHARES[origin] / sum(SHARES.values()))):
            key, template = rng.choice(rng.choice(buckets))
            request = grammar.fill(template, pools, rng)
            # Keywords are their own search.
            yield (
                Row(TASK, request.source, request.targets or (request.source,), origin),
                is_held(key),
            )


def _by_targets(
    templates: Iterable[tuple[str, Template]],
) -> list[list[tuple[str, Template]]]:
    """Templates of the same targets together: two in five of a set's groups ask for an area."""
    buckets: defaultdict[tuple[str, ...], list[tuple[str, Template]]] = defaultdict(list)
    for key, template in templates:
        buckets[template.targets or (template.source,)].append((key, template))
    return list(buckets.values())


def questions(data: Path) -> Iterator[tuple[str, str, str]]:
    """Origin, group and question of the sets that may be trained on.

    MQR and the development and test questions of the well-formedness set are left for measuring.
    """
    for question in _natural_questions(data / "nq-open"):
        yield "nq-open", question, question
    for question, rating in sources.read_rated(data / "wellformedness" / "train.tsv"):
        if rating >= MIN_RATING:
            yield "wellformedness", question, question
    for _, question in sources.read_disfluent(data / "disfl-qa"):
        if "\\u" not in question:
            yield "disfl-qa", question, question
    for row in json.loads((data / "canard" / "dev.json").read_text("utf-8")):
        yield "canard", row["QuAC_dialog_id"], row["Rewrite"]
    for name in ("2020_manual", "2021_manual"):
        path = data / "trec-cast" / f"{name}_evaluation_topics_v1.0.json"
        for topic in json.loads(path.read_text("utf-8")):
            for turn in topic["turn"]:
                yield "trec-cast", f"{name} {topic['number']}", turn["manual_rewritten_utterance"]


def _natural_questions(directory: Path) -> Iterator[str]:
    for path in sorted(directory.glob("NQ-open.*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            yield json.loads(line)["question"]


def shortened(data: Path, misspellings: Misspellings) -> Iterator[tuple[Row, bool]]:
    """Questions with their concise search, in which known misspellings are mended."""
    for origin, group, question in questions(data):
        text = " ".join(question.split())
        search = concise(text)
        if search and is_suitable(text):
            searches = differences.split(text) or (search,)
            mended = tuple(map(misspellings.mended, searches))
            yield Row(TASK, text, mended, origin), is_held(group)


def is_suitable(text: str) -> bool:
    """Whether a question is one to show to anybody."""
    return UNSUITABLE.isdisjoint(normal(text).split())


def disfluent(data: Path) -> Iterator[tuple[Row, bool]]:
    """Questions with a false start, and the search for what was meant."""
    for faulty, question in sources.read_disfluent(data / "disfl-qa"):
        search = concise(question)
        if search and "\\u" not in faulty:
            yield Row(TASK, faulty, (search,), "disfl-qa/disfluent"), is_held(question)


def grounded(data: Path) -> Iterator[tuple[Row, bool]]:
    """The wordings of alexdong with their own searches."""
    for group in comparisons.read(data / "alexdong" / "full.jsonl"):
        for wording, searches in comparisons.grounded(group):
            yield Row(TASK, wording, searches, "alexdong"), is_held("|".join(group.searches))


def compose(
    rows: Rows,
    finite: Iterable[tuple[Row, bool]],
    endless: Iterable[tuple[Row, bool]],
    misspellings: Misspellings,
    rng: random.Random,
) -> None:
    """Adds rows in the forms that people type, and some of their searches as keywords."""
    for row, held in finite:
        for form in forms.all_forms(row, misspellings, rng):
            rows.add(form, held=held)
        _add_keywords(rows, row, misspellings, rng, held=held)
    for row, held in endless:
        rows.add(forms.varied(row, misspellings, rng), held=held)
        _add_keywords(rows, row, misspellings, rng, held=held)


def _add_keywords(
    rows: Rows, row: Row, misspellings: Misspellings, rng: random.Random, *, held: bool
) -> None:
    if rng.random() < AS_KEYWORDS:
        search = rng.choice(row.targets)
        if len(normal(search).split()) > 1:
            keywords = Row(row.task, search, (search,), f"{row.origin}/keywords")
            rows.add(forms.varied(keywords, misspellings, rng), held=held)
