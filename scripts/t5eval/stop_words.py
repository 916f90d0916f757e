"""English words without content."""

from __future__ import annotations


def english() -> frozenset[str]:
    """NLTK's 179, as bm25s carries them."""
    from bm25s.stopwords import STOPWORDS_EN_PLUS  # noqa: PLC0415 - of the extra

    return frozenset(STOPWORDS_EN_PLUS)
