"""Splits decoded sequences into lists of queries, and selects the queries to return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from t5engine.messages import Output
from t5engine.tokenization.marks import get_mark
from t5serve.reformulation.candidates import (
    Candidate,
    Selection,
    UnchangedReason,
    is_usable,
    leave_unchanged,
    original_candidate,
    rank_candidates,
    return_echo,
    select_distinct,
)
from t5serve.reformulation.guards.lists import ListGuards
from t5serve.reformulation.lexicon import EMPTY, Lexicon
from t5serve.reformulation.options import Options
from t5serve.reformulation.text import fold_sentence

Pieces = list[Candidate]


def split_pieces(query: str, output: Output, separator: str) -> Pieces:
    """Returns the usable queries of a decoded sequence, in its order.

    Unusable queries are left out. If `max_tokens` cut the last of several, it is left out too.

    Args:
        query: the query that was reformulated.
        output: the sequence, with the details of its tokens.
        separator: the text between two queries.
    """
    mark = get_mark(separator)
    parts = output.text.split(mark)
    starts = accumulate((len(part) + len(mark) for part in parts[:-1]), initial=0)
    built = [
        Candidate.build(output, part, _count_tokens(output, start, start + len(part)))
        for start, part in zip(starts, parts, strict=True)
    ]
    pieces = [piece for piece in built if is_usable(piece.text, query)]
    is_cut = output.finish_reason == "length" and pieces[-1:] == built[-1:]
    return pieces[:-1] if is_cut and len(pieces) > 1 else pieces


def _count_tokens(output: Output, start: int, end: int) -> int:
    """Counts the tokens that have a visible part in a range of the sequence's text."""
    count = position = 0
    for token in output.details or []:
        low, high = max(position, start), min(position + len(token.text), end)
        position += len(token.text)
        count += low < high and not output.text[low:high].isspace()
    return count


def select_pieces(
    query: str, outputs: Sequence[Output], options: Options, lexicon: Lexicon = EMPTY
) -> Selection:
    """Returns the queries of the best sequence that passes the guards, n at most.

    If the request wants more, the next best sequences add their queries. An echo is a sequence with
    only the query itself. It is the answer if it is the best and no more are wanted, or if no other
    sequence is left.

    Args:
        query: the query, without a prefix.
        outputs: the decoded sequences, best first.
        options: n, the separator, and what sequences and their queries must satisfy.
        lexicon: words that are spelled rightly, whatever they look like.
    """
    lists = [pieces for one in outputs if (pieces := split_pieces(query, one, options.separator))]
    if options.is_guarded:  # by score: the search may rank by other criteria
        lists.sort(key=lambda pieces: -pieces[0].score)
    judged = _allowed(query, lists, options, lexicon)
    allowed: list[Pieces] = []
    changed: list[Pieces] = []
    for pieces in judged:
        allowed.append(pieces)
        if not _is_echo(query, pieces):
            changed.append(pieces)
        if len(changed) == options.sequences:
            break  # further lists would not be used
    may_echo = bool(allowed) and not (options.include_original or options.min_difference)
    prefers_echo = options.sequences == 1 and allowed[:1] != changed[:1]
    if may_echo and (prefers_echo or not changed):
        reason: UnchangedReason = "already_good" if allowed[0] is lists[0] else "guard"
        echo = next(pieces for pieces in allowed if _is_echo(query, pieces))
        return return_echo(query, echo[0], reason)
    queries = [piece for pieces in changed for piece in pieces]
    if options.include_original:
        queries = [piece for piece in queries if piece.folded != fold_sentence(query)]
    selected = list(select_distinct(query, queries, options))[: options.n]
    if not selected:
        allowed.extend(judged)  # the lists that were not needed so far
        was_guarded = len(allowed) < len(lists)
        return leave_unchanged(query, "guard") if was_guarded else Selection([])
    first = [original_candidate(query)] if options.include_original else []
    return Selection([*first, *rank_candidates(selected, len(first) + 1)])


def _allowed(
    query: str, lists: Sequence[Pieces], options: Options, lexicon: Lexicon
) -> Iterator[Pieces]:
    """Yields the sequences that score enough and pass the guards.

    Before the query itself, and if no sequence passes, come the first queries that pass alone: one
    that has all that was asked for does not need the others of its list.
    """
    guards = ListGuards(query, options.preserve, options.terms, lexicon, options.history)
    refused: list[Pieces] = []
    has_passed = False
    for pieces in lists:
        if options.min_score is not None and pieces[0].score < options.min_score:
            continue
        if guards.violation([piece.text for piece in pieces]) is not None:
            refused.append(pieces)
            continue
        if _is_echo(query, pieces) and not has_passed:
            yield from _find_alone(refused, guards)
        has_passed = True
        yield pieces
    # After a lone greedy sequence, beams may have a whole list.
    if not has_passed and not (len(lists) == 1 and options.tries_greedy):
        yield from _find_alone(refused, guards)


def _find_alone(lists: Sequence[Pieces], guards: ListGuards) -> Iterator[Pieces]:
    """Yields the queries that pass alone, of each list whose first query does."""
    for pieces in lists:
        alone = [piece for piece in pieces if guards.violation([piece.text]) is None]
        if alone[:1] == pieces[:1]:
            yield alone


def _is_echo(query: str, pieces: Pieces) -> bool:
    """Whether a list has the query itself and nothing else."""
    return {piece.folded for piece in pieces} == {fold_sentence(query)}
