"""Words to learn spelling from."""

from __future__ import annotations

from collections.abc import Iterator


def frequent(count: int) -> Iterator[str]:
    """Those of the most frequent English words in which a typo is worth mending."""
    from wordfreq import top_n_list  # noqa: PLC0415 - in the extra `train`; 55 MB

    for word in top_n_list("en", count):
        if len(word) > 3 and word.isalpha() and word.isascii():
            yield word
