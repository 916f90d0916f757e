"""English stop words."""

from __future__ import annotations

from functools import cache


@cache
def load_stop_words() -> frozenset[str]:
    """Returns NLTK's 179 English stop words, which bm25s includes."""
    from bm25s.stopwords import STOPWORDS_EN_PLUS  # noqa: PLC0415 - of the extra

    return frozenset(STOPWORDS_EN_PLUS)
