"""Drafts the next tokens from the input, because a reformulation copies words of its input.

This is prompt lookup as in transformers' generate (`prompt_lookup_num_tokens`). It needs no second
model. A drafted token is kept only if the search chooses the same token.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_NGRAM_SIZE = 3  # tokens that are looked up


def draft(source: Sequence[int], target: Sequence[int], count: int) -> list[int]:
    """Drafts the tokens that follow the target's last n-gram in the source.

    The longest n-gram that the source contains is used, at its first occurrence.

    Returns:
        At most `count` ids; none if the source does not contain the target's last token, or
        contains it only at its end.
    """
    for size in range(min(MAX_NGRAM_SIZE, len(target)), 0, -1):
        ngram = list(target[-size:])
        for start in range(len(source) - size):
            end = start + size
            if list(source[start:end]) == ngram:
                return list(source[end : end + count])
    return []
