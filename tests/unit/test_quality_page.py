"""The verdict on combinations, and the page and plot that tell it, on made figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t5eval.quality import page, plot, verdict
from t5eval.quality.combination import ALONE, BASELINES, COMBINATIONS, LONG_LIST, ORIGINAL
from t5eval.quality.comparison import METRICS
from t5eval.quality.dense import DENSE_COMBINATIONS

WORDS, FUSED = "new words added at 0.1", "rankings fused, weights 1 : 1"
MEAN = "mean vector, weights 1 : 0.3"


READ = {
    "task": "ask",
    "queries": 2,
    "changed": 1,
    "usable": 1,
    "answers": 2,
    "unread": 1,
    "labels": {"good": 1.5, "poor": 0, "harmful": 0.5},
    "harmful": ["how far is mars -> how far is venus"],
}


def make_row(combination: str, task: str | None, ndcg: float, p: float) -> dict[str, Any]:
    """A row whose recall is always the original's."""
    row: dict[str, Any] = {"combination": combination, "task": task}
    row |= {"nDCG@10": ndcg, "recall@100": 0.5}
    if combination != ORIGINAL:
        row |= {"nDCG@10 p": p, "recall@100 p": 1.0, "changed": 0.4, "changed first ten": 0.25}
        row |= {f"{metric} worst decile": -0.125 for metric in METRICS}
    return row


def make_collection(name: str, differences: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """A collection where the original has 0.4, and combinations differ by so much with a p."""
    names: list[tuple[str, str | None]] = [(item, None) for item in (*BASELINES, LONG_LIST)]
    names += [(item, task) for task in ("ask", "ask, no guards") for item in (ALONE, *COMBINATIONS)]
    rows = [
        make_row(item, task, 0.4 + difference, p)
        for item, task in names
        if not (item == ALONE and task != "ask")
        for difference, p in [differences.get(item, (0.0, 1.0))]
    ]
    return {"name": name, "documents": 9, "queries": 8, "units": 4, "rows": rows}


def make_dense(name: str) -> dict[str, Any]:
    """A collection where the mean vector gains, and answers without guards lose."""
    rows = [make_row(ORIGINAL, None, 0.5, 1.0), make_row(ALONE, "ask", 0.48, 0.2)]
    for combination in DENSE_COMBINATIONS:
        gains = 0.01 if combination == MEAN else 0.0
        rows.append(make_row(combination, "ask", 0.5 + gains, 0.02 if gains else 1.0))
        rows.append(make_row(combination, "ask, no guards", 0.4, 0.001))
    return {"name": name, "documents": 9, "queries": 8, "units": 8, "rows": rows}


def make_kept(changed: float) -> dict[str, Any]:
    """What the answers of a source keep."""
    kept = {"content": 0.9, "rarest": 1.0, "numbers": 1.0, "negation": None}
    return {"queries": 8, "changed": changed, "invented": 0.0, "unchanged": {"guard": 0.5}} | kept


@pytest.fixture
def results() -> dict[str, Any]:
    """Fusion loses on one collection, added words gain on the other."""
    before, after = dict.fromkeys(METRICS, 0.4), dict.fromkeys(METRICS, 0.2)
    speller: dict[str, Any] = {"system": "speller", "clean changed": 0.1}
    for metric in METRICS:
        speller |= {metric: 0.3, f"{metric} clean": 0.4, f"{metric} clean p": 0.04}
        speller[f"{metric} recovered"] = 0.5
    kept = {"guards": make_kept(0.5), "no guards": make_kept(1.0)}
    return {
        "seed": 3,
        "retrieval": [
            make_collection("first", {FUSED: (-0.02, 0.01), WORDS: (0.001, 0.6)}),
            make_collection("second", {FUSED: (0.05, 0.2), WORDS: (0.01, 0.03)}),
        ],
        "long stop list": [make_collection("first", {}), make_collection("second", {})],
        "dense": [make_dense("first")],
        "typos": [{"name": "first", "clean": before, "typed": after, "rows": [speller]}],
        "keeping": [
            {
                "task": "mend",
                "sources": {"Somewhere": kept},
                "all": kept,
                "terms": 3,
                "terms kept": 1.0,
                "clean": {
                    "guards": {"queries": 8, "unchanged": 1.0, "changes": []},
                    "several": {"queries": 8, "unchanged": 0.875, "changes": [["a", "b"]]},
                },
            }
        ],
        "reading": {
            "domains": {"web": 2},
            "labelled": 9,
            "agreement": 0.9,
            "kappa": 0.8,
            "all labelled": {"ask": (9, 0.125)},
            "tasks": [READ],
            "scores": [
                {
                    "task": "ask",
                    "answers": 7,
                    "auc": 0.75,
                    "dropped": {"good": 0.25, "harmful": None},
                }
            ],
        },
    }


def test_a_significant_loss_anywhere_is_harm(results: dict[str, Any]) -> None:
    """However much is gained elsewhere; of the harmless ones the most helpful comes first."""
    fused = verdict.judge(results["retrieval"], FUSED, "ask")
    assert fused.losses == [("first", "nDCG@10")]
    assert fused.difference["nDCG@10"] == pytest.approx(0.015)
    ranked = verdict.rank_harmless(results["retrieval"], results["long stop list"], ["ask"])
    assert FUSED not in {item.combination for item in ranked}
    assert ranked[0].combination == WORDS
    assert ranked[0].gains == [("second", "nDCG@10")]
    others = [make_collection("first", {WORDS: (-0.01, 0.01)})]
    assert WORDS not in {
        item.combination for item in verdict.rank_harmless(results["retrieval"], others, ["ask"])
    }


def test_a_loss_of_some_size_is_harm_without_significance(results: dict[str, Any]) -> None:
    """More than a tenth of a point on one collection, which a larger sample might confirm."""
    results["retrieval"] = [make_collection("first", {WORDS: (-0.002, 0.9), FUSED: (-0.0005, 0.9)})]
    ranked = verdict.rank_harmless(results["retrieval"], [], ["ask"])
    names = {item.combination for item in ranked}
    assert WORDS not in names
    assert FUSED in names


def test_the_page_says_what_the_figures_say(results: dict[str, Any]) -> None:
    """Figures in the tables, advice by the verdicts, no placeholder left."""
    text = page.format_page(results, model="m", command="run me", picture="images/x.png")
    lines = text.splitlines()
    assert "run me" in lines
    assert any(line.startswith(f"- Recommended: **{WORDS}**") for line in lines)
    assert "### first: 9 documents, 8 queries of 4 threads" in lines
    assert f"| {FUSED} | `ask` | 0.3800 | **0.0100** | 0.5000 | 1.0000 |" in lines
    assert f"| {WORDS}, `ask` | first | 40.0 % | 25.0 % | -12.50 | -12.50 |" in lines
    row = "| first | speller | 0.4000 | 0.2000 | 0.3000 | 50.0 % | 0.4000 | **0.0400** | 10.0 % |"
    assert row in lines
    kept = "| Somewhere | the recipe's | 8 | 50.0 % | 90.0 % | 100.0 % | 100.0 % |  | 0.0 % |"
    assert kept in lines
    assert "With n = 4, the first answer was unchanged for 87.5 %." in text
    assert "| `ask` | 2 | 1 | 1 | 2 | 75.0 % | 0.0 % | 25.0 % | 1 |" in lines
    assert "- how far is mars -> how far is venus" in lines
    assert "| `ask` | 7 | 0.75 | 25.0 % |  | 9 | 12.5 % |" in lines
    assert "### Dense: first, 9 documents, 8 queries" in lines
    assert f"| {MEAN} | `ask` | 0.5100 | **0.0200** | 0.5000 | 1.0000 |" in lines
    sentence = f"- Vector search: the best harmless combination is *{MEAN}, `ask`*: +1.00"
    assert any(line.startswith(sentence) for line in lines)
    assert f"| searches vectors | {MEAN}, `ask` | +1.00 | +0.00 |" in lines
    assert "9 answers have a label from each reader." in text
    assert "the same label to 90.0 % of the answers (kappa 0.80; " in text
    assert "$" not in text


def test_the_query_alone_is_the_advice_where_vectors_gain_nothing(results: dict[str, Any]) -> None:
    """A gain on one collection does not outweigh a significant loss on another."""
    for row in results["dense"][0]["rows"]:
        if row["combination"] == MEAN and row["task"] == "ask":
            row["nDCG@10"] = 0.45
    lines = page.format_page(results, model="m", command="c", picture="p").splitlines()
    assert "| searches vectors | the original query | +0.00 | +0.00 |" in lines
    assert any(line.startswith("- Vector search: use the original query alone") for line in lines)


def test_a_page_without_a_harmless_combination(results: dict[str, Any]) -> None:
    """The original is the advice where everything loses."""
    loses = dict.fromkeys(COMBINATIONS, (-0.01, 0.001))
    results["retrieval"] = [make_collection("first", loses)]
    results["long stop list"] = [make_collection("first", {})]
    text = page.format_page(results, model="m", command="c", picture="p")
    assert "Every combination loses somewhere: search with the original query." in text
    assert "none: even new words added at 0.05 loses on first" in text


def test_the_plot_is_a_picture(results: dict[str, Any], tmp_path: Path) -> None:
    """Small enough for a repository."""
    pytest.importorskip("matplotlib")
    plot.save(results, "ask", tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) < 100_000
