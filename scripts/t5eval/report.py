"""Results as Markdown tables."""

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


def markdown(results: Results) -> str:
    """All tables, and some outputs as they came."""
    parts = [_pairs(found) for found in results["pairs"]]
    if results["agreement"]:
        rows = [
            [found["one"], found["other"], _share(found["equal"])] for found in results["agreement"]
        ]
        parts.append("## Equal greedy outputs\n\n" + table(["one", "other", "equal"], rows, 2))
    parts += [_collection(found) for found in results["collections"]]
    return "# Evaluation\n\n" + "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A Markdown table; after so many columns of text, the others are numbers."""
    rule = ["---"] * texts + ["--:"] * (len(head) - texts)
    lines = [head, rule, *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def title(found: Results) -> str:
    """What a set of pairs is called."""
    return f"{found['set']}, {found['task']}" if found["task"] else str(found["set"])


def _pairs(found: Results) -> str:
    systems: Mapping[str, Mapping[str, float | None]] = found["systems"]
    rows = [
        [label, *(shown(figures[name]) for figures in systems.values())]
        for names, shown in ((SCORES, _score), (SHARES, _share), (PLAIN, _plain))
        for name, label in names.items()
        if all(name in figures for figures in systems.values())
    ]
    parts = [f"## {title(found)}: {found['pairs']} pairs", table(["", *systems], rows)]
    parts.append("sacrebleu: " + "; ".join(f"`{text}`" for text in found["signatures"].values()))
    if found["examples"]:
        examples = [
            [example["source"], example["target"], *example["outputs"].values()]
            for example in found["examples"]
        ]
        parts.append("Outputs chosen at random, unedited:")
        head = ["input", "reference", *systems]
        parts.append(table(head, examples, len(head)))
    return "\n\n".join(parts)


def _collection(found: Results) -> str:
    head = ["searched by", "system"]
    for name in METRICS:
        head += [name, "p"]
    rows = []
    for row in found["rows"]:
        line = [row["searched_by"], row["system"] or ""]
        for name in METRICS:
            line += [f"{row[name]:.4f}", _probability(row.get(f"{name} p"))]
        rows.append(line)
    given = ", ".join(f"{model} {_share(share)}" for model, share in found["fell_back"].items())
    return (
        f"## {found['name']}: {found['documents']} documents, {found['queries']} queries\n\n"
        f"{table(head, rows, 2)}\n\n"
        f"p: paired randomisation against the original, two-sided, not corrected for several"
        f" tests. Queries with nothing usable to fuse: {given}."
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
