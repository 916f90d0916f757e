"""Frequent words to learn spelling from."""

from __future__ import annotations

from collections.abc import Iterator


def list_frequent_words(count: int) -> Iterator[str]:
    """Yields the most frequent English words that are long enough to correct a typo in.

    Args:
        count: How many words are considered; short words and words with other characters than
            ASCII letters are left out.
    """
    from wordfreq import top_n_list  # noqa: PLC0415 - in the extra `train`; 55 MB

    for word in top_n_list("en", count):
        if len(word) > 3 and word.isalpha() and word.isascii():
            yield word


def rate_words(count: int) -> Iterator[tuple[str, float]]:
    """Yields the most frequent English words, each with its Zipf frequency.

    The Zipf frequency is the logarithm to base ten of how often a word comes in 10^9 words.
    """
    from wordfreq import top_n_list, zipf_frequency  # noqa: PLC0415 - as above

    for word in top_n_list("en", count):
        yield word, zipf_frequency(word, "en")
