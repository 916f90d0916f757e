"""Formats results as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from t5eval.evaluation import Results
from t5eval.retrieval import METRICS

SCORES = {
    "bleu": "BLEU",
    "self_bleu": "self-BLEU (output against input)",
    "input_bleu": "BLEU of the input itself",
    "chrf": "chrF",
    "self_chrf": "self-chrF",
    "input_chrf": "chrF of the input itself",
}
SHARES = {
    "copies": "copies of the input",
    "exact": "exact match with the reference",
    "exact_folded": "likewise, but for case and width",
    "numbers_kept": "numbers kept (of inputs with some)",
    "capitalised_kept": "capitalised words kept (likewise)",
    "rarest_kept": "rarest content word kept",
    "fell_back": "nothing usable",
}
PLAIN = {
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "similarity": "similarity to the input (cosine)",
    "keyword_reward": "keyword-paraphrase reward",
}
SIGNIFICANT = 0.05


def format_report(results: Results) -> str:
    """Returns all tables, and some outputs unedited."""
    parts = [_format_pairs(pair_set) for pair_set in results["pairs"]]
    if results["agreement"]:
        rows = [[row["one"], row["other"], _share(row["equal"])] for row in results["agreement"]]
        table = format_table(["one", "other", "equal"], rows, 2)
        parts.append(f"## Equal greedy outputs\n\n{table}")
    parts += [_format_collection(collection) for collection in results["collections"]]
    return "# Evaluation\n\n" + "\n\n".join(parts) + "\n"


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """Returns a Markdown table; the columns after the first `text_columns` are numbers."""
    rule = ["---"] * text_columns + ["--:"] * (len(head) - text_columns)
    lines = [head, rule, *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def set_title(pair_set: Results) -> str:
    """Returns the title of a set of pairs."""
    return f"{pair_set['set']}, {pair_set['task']}" if pair_set["task"] else str(pair_set["set"])


def _format_pairs(pair_set: Results) -> str:
    systems: Mapping[str, Mapping[str, float | None]] = pair_set["systems"]
    rows = [
        [label, *(format_value(figures[name]) for figures in systems.values())]
        for names, format_value in ((SCORES, _score), (SHARES, _share), (PLAIN, _plain))
        for name, label in names.items()
        if all(name in figures for figures in systems.values())
    ]
    heading = f"## {set_title(pair_set)}: {pair_set['pairs']} pairs"
    signatures = "; ".join(f"`{signature}`" for signature in pair_set["signatures"].values())
    parts = [heading, format_table(["", *systems], rows), f"sacrebleu: {signatures}"]
    if pair_set["examples"]:
        examples = [
            [example["source"], example["target"], *example["outputs"].values()]
            for example in pair_set["examples"]
        ]
        parts.append("Outputs chosen at random, unedited:")
        head = ["input", "reference", *systems]
        parts.append(format_table(head, examples, len(head)))
    return "\n\n".join(parts)


def _format_collection(collection: Results) -> str:
    head = ["searched by", "system"]
    for name in METRICS:
        head += [name, "p"]
    rows = []
    for row in collection["rows"]:
        line = [row["searched_by"], row["system"] or ""]
        for name in METRICS:
            line += [f"{row[name]:.4f}", _probability(row.get(f"{name} p"))]
        rows.append(line)
    fell_back = ", ".join(
        f"{model} {_share(share)}" for model, share in collection["fell_back"].items()
    )
    documents, queries = collection["documents"], collection["queries"]
    return (
        f"## {collection['name']}: {documents} documents, {queries} queries\n\n"
        f"{format_table(head, rows, 2)}\n\n"
        f"p: paired randomisation against the original, two-sided, not corrected for several"
        f" tests. Queries with nothing usable to fuse: {fell_back}."
    )


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _probability(value: float | None) -> str:
    if value is None:
        return ""
    return f"**{value:.4f}**" if value < SIGNIFICANT else f"{value:.4f}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
