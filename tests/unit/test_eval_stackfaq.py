"""StackFAQ's threads as a collection, on a tiny file."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from t5eval import collection, stackfaq
from t5eval.collection import Query
from t5eval.retrieval import find_units
from t5eval.significance import randomisation_p_value

XML = """<qapairs>
<qapair>
<rephr>
How do I  write &amp;lt;s&amp;gt; tags?
</rephr>
<rephr>
*
</rephr>
<rephr>
Tags &amp; strikethrough
</rephr>
<rephr>
Tags &amp; strikethrough
</rephr>
<question>
Strikethrough
</question>
<answer>
   Use ~~tildes~~.
</answer>
<answer>
-
</answer>
</qapair>
<qapair>
<rephr>
no answer
</rephr>
<question>
q
</question>
</qapair>
<qapair>
<rephr>
styles in docs
</rephr>
<question>
Styles
</question>
<answer>
Click there.
</answer>
<answer>
Or here.
</answer>
</qapair>
</qapairs>
"""


def test_answers_are_documents_and_wordings_are_queries(tmp_path: Path) -> None:
    """Entities are unescaped; rows without a word, repetitions and the titles are left out."""
    (tmp_path / stackfaq.FILE).write_text(XML)
    threads = collection.read(tmp_path)
    assert threads.name == tmp_path.name
    assert threads.documents == ["Use ~~tildes~~.", "Click there.", "Or here."]
    assert threads.queries == [
        Query("How do I write <s> tags?", frozenset({0}), thread=0),
        Query("Tags & strikethrough", frozenset({0}), thread=0),
        Query("styles in docs", frozenset({1, 2}), thread=1),
    ]
    units = find_units([*threads.queries, Query("alone", frozenset({0}))])
    assert units[0] == units[1]
    assert len(set(units)) == 3


def test_queries_of_one_thread_are_exchanged_together() -> None:
    """The p-value comes near all 2^3 exchanges of three threads, not the 2^9 of nine queries."""
    scores = [0.5, 0.4, 0.9, 0.3, 0.8, 0.2, 0.6, 0.7, 0.1]
    baseline = [0.3, 0.5, 0.4, 0.2, 0.5, 0.2, 0.3, 0.6, 0.3]
    units = "aaabbbbcc"
    sums = {
        unit: sum(a - b for a, b, u in zip(scores, baseline, units, strict=True) if u == unit)
        for unit in "abc"
    }
    observed = abs(sum(sums.values())) - 1e-9
    exact = np.mean(
        [
            abs(sum(sign * value for sign, value in zip(signs, sums.values(), strict=True)))
            >= observed
            for signs in product((1, -1), repeat=3)
        ]
    )
    by_thread = randomisation_p_value(scores, baseline, seed=1, units=units)
    assert by_thread == pytest.approx(exact, abs=0.015)
    assert by_thread > 2 * randomisation_p_value(scores, baseline, seed=1)
